//! Texts from elsewhere, made fit to be shown: a terminal obeys control characters, and colours are for terminals.

/// `text` without control characters but the line feed; colours (`ESC [ … m`) stay with `colours`.
pub(super) fn clean(text: &str, colours: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let behind = &rest[character.len_utf8()..];
        rest = match colour_behind_escape(behind).filter(|_| character == '\x1b') {
            Some(length) => {
                if colours {
                    out.push(character);
                    out.push_str(&behind[..length]);
                }
                &behind[length..]
            }
            None => {
                if character == '\n' || !character.is_control() {
                    out.push(character);
                } else if character == '\t' {
                    out.push(' ');
                }
                behind
            }
        };
    }
    out
}

/// The length of `[ … m` at the start.
fn colour_behind_escape(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix('[')?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[end..].starts_with('m').then_some(end + "[m".len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_colours_pass_and_only_to_terminals() {
        let table = [
            ("\x1b[31m>>> No.\x1b[0m why", "\x1b[31m>>> No.\x1b[0m why", ">>> No. why"),
            ("a\nb\tc\r", "a\nb c", "a\nb c"),
            ("\x1b[1;32mä\x1b[m", "\x1b[1;32mä\x1b[m", "ä"),
            ("\x1b[2J\x1b]0;title\x07", "[2J]0;title", "[2J]0;title"),
            ("\x1b", "", ""),
            ("\x1b[3", "[3", "[3"),
            ("\u{9b}31m", "31m", "31m"),
        ];
        for (text, colourful, plain) in table {
            assert_eq!(clean(text, true), colourful);
            assert_eq!(clean(text, false), plain);
        }
    }
}
