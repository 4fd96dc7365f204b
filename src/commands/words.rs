//! A line → the simple commands in it, as a shell would run them: words without their quotes, and without what stands in front
//! of the command itself (`sudo`, `env A=b`, …). Variables are not expanded, so what they hold is not seen.

/// How deep commands within commands are looked for: `sh -c "…"`, `$(…)`.
const DEPTH_MAX: u32 = 4;

/// Commands that run another one, the letters of their options that take a word more, and how many words stand before the
/// other command.
const RUNNERS: [(&str, &str, usize); 17] = [
    ("sudo", "ughpCDRTUrt", 0),
    ("doas", "uC", 0),
    ("env", "uCS", 0),
    ("nohup", "", 0),
    ("setsid", "", 0),
    ("time", "fo", 0),
    ("nice", "n", 0),
    ("ionice", "cnp", 0),
    ("timeout", "ks", 1),
    ("stdbuf", "ioe", 0),
    ("exec", "a", 0),
    ("command", "", 0),
    ("builtin", "", 0),
    ("xargs", "nILPsdaE", 0),
    ("busybox", "", 0),
    ("chroot", "", 1),
    ("watch", "n", 0),
];
/// Words that stand before a command.
const KEYWORDS: [&str; 9] = ["!", "{", "if", "then", "else", "elif", "while", "until", "do"];
/// Shells, which run what stands behind `-c`.
const SHELLS: [&str; 8] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "su", "fish"];

/// The simple commands of a line, each with at least one word.
pub(super) fn commands_of(line: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    read(line, DEPTH_MAX, &mut found);
    found
}

/// The simple commands of a command whose words are known.
pub(super) fn commands_of_words(words: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    unwrapped(words.to_vec(), DEPTH_MAX, &mut found);
    found
}

/// What of a line has been read.
#[derive(Default)]
struct Reading {
    words: Vec<String>,
    /// The word that is being read; none between words.
    word: Option<String>,
    /// The next word is a file's name.
    redirects: bool,
}

impl Reading {
    fn push(&mut self, character: char) {
        self.word.get_or_insert_default().push(character);
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take()
            && !std::mem::take(&mut self.redirects)
        {
            self.words.push(word);
        }
    }

    fn end_command(&mut self, depth: u32, found: &mut Vec<Vec<String>>) {
        self.end_word();
        self.redirects = false;
        unwrapped(std::mem::take(&mut self.words), depth, found);
    }
}

fn read(line: &str, depth: u32, found: &mut Vec<Vec<String>>) {
    let mut reading = Reading::default();
    let mut quoted = false;
    let mut rest = line.chars();
    while let Some(character) = rest.next() {
        match character {
            '\\' => match rest.next() {
                None | Some('\n') => {}
                Some(next) if quoted && !matches!(next, '"' | '\\' | '$' | '`') => {
                    reading.push('\\');
                    reading.push(next);
                }
                Some(next) => reading.push(next),
            },
            '"' => {
                quoted = !quoted;
                reading.word.get_or_insert_default();
            }
            '$' if rest.as_str().starts_with('(') => {
                let inner = enclosed(&rest.as_str()[1..]);
                if depth > 0 {
                    read(inner, depth - 1, found);
                }
                // Behind the closing parenthesis; what it gives is not known.
                reading.push('$');
                rest = rest.as_str()[1 + inner.len()..].chars();
                rest.next();
            }
            '`' => {
                let (inner, behind) = rest.as_str().split_once('`').unwrap_or((rest.as_str(), ""));
                if depth > 0 {
                    read(inner, depth - 1, found);
                }
                reading.push('$');
                rest = behind.chars();
            }
            _ if quoted => reading.push(character),
            '\'' => {
                let (inner, behind) = rest.as_str().split_once('\'').unwrap_or((rest.as_str(), ""));
                reading.word.get_or_insert_default().push_str(inner);
                rest = behind.chars();
            }
            '#' if reading.word.is_none() => {
                let end = rest.as_str().find('\n').unwrap_or(rest.as_str().len());
                rest = rest.as_str()[end..].chars();
            }
            '>' | '<' => {
                // The number of what is redirected is no word.
                reading.word.take_if(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
                reading.end_word();
                reading.redirects = true;
            }
            '&' if reading.redirects && reading.word.is_none() => {}
            ';' | '|' | '&' | '\n' | '(' | ')' => reading.end_command(depth, found),
            ' ' | '\t' => reading.end_word(),
            _ => reading.push(character),
        }
    }
    reading.end_command(depth, found);
}

/// Until the parenthesis that closes.
fn enclosed(text: &str) -> &str {
    let mut open = 1;
    for (at, character) in text.char_indices() {
        match character {
            '(' => open += 1,
            ')' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return &text[..at];
        }
    }
    text
}

/// Takes away what stands before the command itself, and looks into what a shell is to run.
fn unwrapped(mut words: Vec<String>, depth: u32, found: &mut Vec<Vec<String>>) {
    loop {
        let assigns = |word: &String| {
            word.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            })
        };
        let before =
            words.iter().take_while(|word| assigns(word) || KEYWORDS.contains(&word.as_str())).count();
        words.drain(..before);
        let Some(first) = words.first() else { return };
        let Some((_, options, operands)) = RUNNERS.iter().find(|(name, ..)| *name == base_name(first)) else {
            break;
        };
        let mut at = 1;
        while let Some(option) = words.get(at).filter(|word| word.len() > 1 && word.starts_with('-')) {
            let takes_word =
                option.len() == 2 && option.chars().nth(1).is_some_and(|letter| options.contains(letter));
            at += 1 + usize::from(takes_word);
            if option == "--" {
                break;
            }
        }
        let skipped = (at + operands).min(words.len());
        if skipped == words.len() {
            break;
        }
        words.drain(..skipped);
    }
    let name = base_name(&words[0]);
    let script = match name {
        "eval" => Some(words[1..].join(" ")),
        _ if SHELLS.contains(&name) => {
            let behind = words
                .iter()
                .position(|word| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c'));
            behind.and_then(|at| words.get(at + 1).cloned())
        }
        _ => None,
    };
    if let Some(script) = script
        && depth > 0
    {
        read(&script, depth - 1, found);
    }
    found.push(words);
}

/// `/bin/rm` → `rm`.
pub(super) fn base_name(word: &str) -> &str {
    word.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_a_shell_reads_it() {
        let table: [(&str, &[&[&str]]); 24] = [
            ("", &[]),
            ("ls -l", &[&["ls", "-l"]]),
            ("echo 'a  b' \"c d\" e\\ f", &[&["echo", "a  b", "c d", "e f"]]),
            ("a; b && c || d | e & f", &[&["a"], &["b"], &["c"], &["d"], &["e"], &["f"]]),
            ("echo ';' a\\;b", &[&["echo", ";", "a;b"]]),
            ("# rm -rf /", &[]),
            ("ls # rm -rf /\nid", &[&["ls"], &["id"]]),
            ("a#b", &[&["a#b"]]),
            ("cmd 2>/dev/null >>log <in x 2>&1", &[&["cmd", "x"]]),
            ("sudo -u root rm -rf /", &[&["rm", "-rf", "/"]]),
            ("sudo man mkfs", &[&["man", "mkfs"]]),
            ("A=b /usr/bin/env -i B=c rm x", &[&["rm", "x"]]),
            ("timeout -k 5 10 reboot", &[&["reboot"]]),
            ("sudo", &[&["sudo"]]),
            ("sh -c 'rm -rf /; id' x", &[&["rm", "-rf", "/"], &["id"], &["sh", "-c", "rm -rf /; id", "x"]]),
            ("bash -lc \"id\"", &[&["id"], &["bash", "-lc", "id"]]),
            ("eval rm x", &[&["rm", "x"], &["eval", "rm", "x"]]),
            ("echo $(rm -rf / | x) y", &[&["rm", "-rf", "/"], &["x"], &["echo", "$", "y"]]),
            ("echo \"a $(id (b) c) d\"", &[&["id"], &["b"], &["c"], &["echo", "a $ d"]]),
            ("echo `id`", &[&["id"], &["echo", "$"]]),
            ("if true; then reboot; fi", &[&["true"], &["reboot"], &["fi"]]),
            ("(cd / && rm x)", &[&["cd", "/"], &["rm", "x"]]),
            ("echo \"un'closed", &[&["echo", "un'closed"]]),
            ("echo 'unclosed", &[&["echo", "unclosed"]]),
        ];
        for (line, commands) in table {
            assert_eq!(commands_of(line), commands, "{line}");
        }
    }

    #[test]
    fn no_line_is_too_deep_or_too_odd() {
        let deep = "$(".repeat(2000) + "id" + &")".repeat(2000);
        assert!(commands_of(&deep).len() < 10);
        let pieces = [
            "$(", "`", "\"", "'", "\\", ";", "é", "a", " ", ")", "(", "#", "\n", ">", "&", "sudo ", "-c ",
            "sh ",
        ];
        for round in 0_usize..5000 {
            let line: String =
                (0..9).map(|at| pieces[(round * (2 * at + 1) + round / (at + 1)) % pieces.len()]).collect();
            assert!(commands_of(&line).iter().all(|words| !words.is_empty()), "{line}");
        }
    }
}
