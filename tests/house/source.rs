//! Rust source as the paths it names, without comments and the insides of strings. No parser: enough to see who names
//! whom.

/// A piece of source.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// Any other character; `::` is one.
    Mark(&'static str),
}

/// A path as it is written, `use` trees taken apart: `use std::{io, net::TcpStream}` gives `std::io` and
/// `std::net::TcpStream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) words: Vec<String>,
    /// How many `mod name { … }` of the file it stands in.
    pub(crate) inside: usize,
}

impl Path {
    /// From the crate's root on, where the path is one of the crate's; `module` is the file's own.
    pub(crate) fn rooted(&self, module: &[String]) -> Option<Vec<String>> {
        let mut words = &self.words[..];
        let first = words.first()?;
        if first == "crate" {
            return Some(words[1..].to_vec());
        }
        if first == "self" {
            words = &words[1..];
        } else if first != "super" {
            return None;
        }
        let ups = words.iter().take_while(|word| *word == "super").count();
        // The modules inside of the file are left first.
        let depth = module.len().saturating_sub(ups.saturating_sub(self.inside));
        Some([&module[..depth], &words[ups..]].concat())
    }
}

/// Every path in a source text; a word alone is one too.
pub(crate) fn paths(source: &str) -> Vec<Path> {
    let tokens = tokens(source);
    let mut paths = Vec::new();
    let mut braces = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            Token::Word(word) if word == "mod" => {
                let is_inline = tokens.get(at + 2) == Some(&Token::Mark("{"));
                at += 1 + usize::from(is_inline);
                if is_inline {
                    braces.push(true);
                    at += 1;
                }
            }
            Token::Word(_) => {
                let inside = braces.iter().filter(|is_module| **is_module).count();
                at = path(&tokens, at, &[], inside, &mut paths);
            }
            Token::Mark(mark) => {
                match *mark {
                    "{" => braces.push(false),
                    "}" => drop(braces.pop()),
                    _ => {}
                }
                at += 1;
            }
        }
    }
    paths
}

/// Reads the path, or the tree of paths, that begins at `at`; gives what is behind it.
fn path(tokens: &[Token], mut at: usize, before: &[String], inside: usize, paths: &mut Vec<Path>) -> usize {
    let mut words = before.to_vec();
    while let Some(Token::Word(word)) = tokens.get(at) {
        words.push(word.clone());
        at += 1;
        if tokens.get(at) != Some(&Token::Mark("::")) {
            break;
        }
        at += 1;
    }
    if tokens.get(at) == Some(&Token::Mark("{")) && tokens.get(at.wrapping_sub(1)) == Some(&Token::Mark("::"))
    {
        at += 1;
        while at < tokens.len() && tokens[at] != Token::Mark("}") {
            // Commas, stars and `as` between the branches.
            at = match tokens[at] {
                Token::Word(_) => path(tokens, at, &words, inside, paths),
                Token::Mark(_) => at + 1,
            };
        }
        return at + 1;
    }
    paths.push(Path { words, inside });
    at
}

fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = string(rest) {
            length
        } else if first == '\'' {
            quote(rest)
        } else if first.is_alphanumeric() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..length].to_owned()));
            length
        } else {
            let mark = ["::", "{", "}"].into_iter().find(|mark| rest.starts_with(mark));
            if !first.is_whitespace() {
                tokens.push(Token::Mark(mark.unwrap_or("?")));
            }
            mark.map_or(first.len_utf8(), str::len)
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of a comment, in which others may lie.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The length of a string, if one begins here: `"…"`, `b"…"`, `c"…"`, and raw ones.
fn string(text: &str) -> Option<usize> {
    let prefix = text.find(|c| !matches!(c, 'b' | 'c' | 'r')).filter(|length| *length <= 2)?;
    let behind = &text[prefix..];
    if text[..prefix].contains('r') {
        let hashes = behind.len() - behind.trim_start_matches('#').len();
        let inside = behind[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
        return Some(prefix + hashes + 1 + length);
    }
    let inside = behind.strip_prefix('"')?;
    let mut is_escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return Some(prefix + 1 + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// The length of a character, or of a lifetime's quote.
fn quote(text: &str) -> usize {
    let mut inside = text[1..].chars();
    match (inside.next(), inside.next()) {
        (Some('\\'), Some(escaped)) => {
            let from = 2 + escaped.len_utf8();
            text[from..].find('\'').map_or(text.len(), |at| from + at + 1)
        }
        (Some(character), Some('\'')) => 2 + character.len_utf8(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(source: &str) -> Vec<String> {
        paths(source).iter().map(|path| path.words.join("::")).collect()
    }

    #[test]
    fn trees_are_taken_apart() {
        let source = "use std::{io::{self, Read as _}, net::*}; let x = a::b(c);";
        assert_eq!(
            written(source),
            [
                "use",
                "std::io::self",
                "std::io::Read",
                "std::io::as",
                "std::io::_",
                "std::net",
                "let",
                "x",
                "a::b",
                "c"
            ]
        );
    }

    #[test]
    fn comments_strings_and_characters_say_nothing() {
        let source = r####"a // std::net
            /* mio /* mio */ mio */ b "mio \" mio" c r#"mio " mio"# d b"mio" '"' e '\'' f b'"' g<'mio2>(br"\") h "mio"####;
        let words = written(source);
        assert_eq!(words, ["a", "b", "c", "d", "e", "f", "b", "g", "mio2", "h"]);
    }

    #[test]
    fn paths_are_followed_up() {
        let module: Vec<String> = ["wire", "http"].map(str::to_owned).to_vec();
        let table = [
            ("crate::engine::Dialect", Some("engine::Dialect")),
            ("super::utf8", Some("wire::utf8")),
            ("self::body", Some("wire::http::body")),
            ("super::super::engine", Some("engine")),
            ("mod tests { super::engine }", Some("wire::http::engine")),
            ("mod tests { fn f() {} super::super::super::engine }", Some("engine")),
            ("{ mod tests {} } super::super::engine", Some("engine")),
            ("std::io", None),
        ];
        for (source, expected) in table {
            let last = paths(source).pop().unwrap();
            let found = last.rooted(&module).map(|words| words.join("::"));
            assert_eq!(found.as_deref(), expected, "{source}");
        }
    }
}
