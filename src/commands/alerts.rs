//! Which commands somebody should hear of: patterns of words, not of letters, so that `rm -rf /` is found wherever it is run, and
//! `rm -rf /tmp/x` or `man mkfs` are not.
//!
//! A pattern is a command's name, then words that must be among its own: `-rf` stands for these letters in whatever options
//! they are, any other word for a whole word. `*` stands for anything, `\*` for a star.

use super::words::{base_name, commands_of, commands_of_words};
use std::fmt;

/// What alerts where nobody says otherwise: what destroys a machine or a disk, what leaves a container, what hides what was
/// done, and the reading of password hashes.
pub const USUAL: [&str; 33] = [
    "rm -r /",
    "rm -r /\\*",
    "rm -R /",
    "rm --recursive /",
    "rm -r /bin",
    "rm -r /etc",
    "rm -r /home",
    "rm -r /lib",
    "rm -r /usr",
    "rm -r /var",
    "rm --no-preserve-root",
    "chmod -R /",
    "chown -R /",
    "mkfs",
    "mkfs.*",
    "wipefs",
    "blkdiscard",
    "shred /dev/*",
    "dd of=/dev/sd*",
    "dd of=/dev/vd*",
    "dd of=/dev/xvd*",
    "dd of=/dev/nvme*",
    "fdisk /dev/*",
    "shutdown",
    "reboot",
    "poweroff",
    "halt",
    "nsenter",
    "insmod",
    "modprobe",
    "history -c",
    "unset HISTFILE",
    "* /etc/shadow",
];

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    words: Vec<Word>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// These letters, in one option or in several.
    Letters(Vec<char>),
    Glob(Vec<Piece>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Any,
    Is(char),
}

/// As it was written.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It has no words.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let words: Vec<Word> = text.split(' ').filter(|word| !word.is_empty()).map(word).collect();
        match words.first() {
            Some(Word::Glob(_)) => Ok(Pattern { text, words }),
            Some(Word::Letters(_)) | None => {
                Err(format!("takes a command's name and words of it, like \"rm -r /\", not {text:?}"))
            }
        }
    }

    /// Those of [`USUAL`].
    pub fn usual() -> Vec<Pattern> {
        USUAL.iter().filter_map(|text| Pattern::parse(text).ok()).collect()
    }

    fn meets(&self, command: &[String]) -> bool {
        let Some((name, words)) = command.split_first() else { return false };
        let [Word::Glob(wanted), others @ ..] = &self.words[..] else { return false };
        let full = plain_path(name);
        if !meets(wanted, base_name(&full)) && !meets(wanted, &full) {
            return false;
        }
        let options = words.iter().take_while(|word| *word != "--");
        let letters: Vec<char> = options
            .filter(|word| word.starts_with('-') && !word.starts_with("--"))
            .flat_map(|word| word.chars().skip(1))
            .collect();
        others.iter().all(|other| match other {
            Word::Letters(wanted) => wanted.iter().all(|letter| letters.contains(letter)),
            Word::Glob(wanted) => {
                words.iter().any(|word| meets(wanted, word) || meets(wanted, &plain_path(word)))
            }
        })
    }
}

fn word(text: &str) -> Word {
    let mut letters = text.chars();
    if letters.next() == Some('-') && !text.starts_with("--") && text.len() > 1 && !text.contains(['*', '='])
    {
        return Word::Letters(letters.collect());
    }
    let mut pieces = Vec::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        pieces.push(match character {
            '*' => Piece::Any,
            '\\' => Piece::Is(rest.next().unwrap_or('\\')),
            other => Piece::Is(other),
        });
    }
    Word::Glob(pieces)
}

/// Whether the whole word is so; in time of both lengths together multiplied.
fn meets(pattern: &[Piece], word: &str) -> bool {
    let word: Vec<char> = word.chars().collect();
    let (mut at, mut next) = (0, 0);
    // Where the last star stands, and how far it reaches.
    let mut star: Option<(usize, usize)> = None;
    while at < word.len() {
        match pattern.get(next) {
            Some(Piece::Any) => {
                star = Some((next, at));
                next += 1;
            }
            Some(Piece::Is(character)) if *character == word[at] => (at, next) = (at + 1, next + 1),
            Some(Piece::Is(_)) | None => match &mut star {
                Some((place, reach)) => {
                    *reach += 1;
                    (at, next) = (*reach, *place + 1);
                }
                None => return false,
            },
        }
    }
    pattern[next..].iter().all(|piece| *piece == Piece::Any)
}

/// `//etc/./x/` → `/etc/x`.
fn plain_path(word: &str) -> String {
    if !word.starts_with('/') {
        return word.to_owned();
    }
    let parts: Vec<&str> = word.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    format!("/{}", parts.join("/"))
}

/// The first of these patterns that one of the line's commands meets.
pub fn of_line<'a>(patterns: &'a [Pattern], line: &str) -> Option<&'a Pattern> {
    first_met(patterns, &commands_of(line))
}

/// The same for a command whose words are known.
pub fn of_command<'a>(patterns: &'a [Pattern], words: &[String]) -> Option<&'a Pattern> {
    first_met(patterns, &commands_of_words(words))
}

fn first_met<'a>(patterns: &'a [Pattern], commands: &[Vec<String>]) -> Option<&'a Pattern> {
    patterns.iter().find(|pattern| commands.iter().any(|command| pattern.meets(command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_ones_find_what_destroys_and_nothing_else() {
        let usual = Pattern::usual();
        assert_eq!(usual.len(), USUAL.len());
        let alerts = [
            ("rm -rf /", "rm -r /"),
            ("rm -fr -v /", "rm -r /"),
            ("rm -r -f //", "rm -r /"),
            ("sudo rm --recursive --force /", "rm --recursive /"),
            ("cd /; rm -rf /*", "rm -r /\\*"),
            ("rm -rf /etc/", "rm -r /etc"),
            ("\"rm\" -Rf /", "rm -R /"),
            ("\\rm -rf /.", "rm -r /"),
            ("x=$(/bin/rm -rf /usr)", "rm -r /usr"),
            ("sh -c 'mkfs.ext4 /dev/sda1'", "mkfs.*"),
            ("yes | /sbin/mkfs -t ext4 /dev/sda", "mkfs"),
            ("dd if=/dev/zero of=/dev/sda bs=1M", "dd of=/dev/sd*"),
            ("nohup shutdown -h now &", "shutdown"),
            ("cat /etc/shadow", "* /etc/shadow"),
            ("nsenter -t 1 -a", "nsenter"),
            ("history -c", "history -c"),
            ("ls && unset HISTFILE", "unset HISTFILE"),
            ("chmod -R 777 /", "chmod -R /"),
        ];
        for (line, pattern) in alerts {
            assert_eq!(of_line(&usual, line).map(ToString::to_string).as_deref(), Some(pattern), "{line}");
        }
        let calm = [
            "rm -rf /tmp/x",
            "rm -rf ./",
            "rm -rf /var/cache/apt",
            "rm /etc",
            "man mkfs",
            "sudo man mkfs",
            "echo rm -rf /",
            "grep 'rm -rf /' notes",
            "# rm -rf /",
            "ls / -rf",
            "git rm -r --cached .",
            "dd if=/dev/sda of=disk.img",
            "dd if=x of=/dev/null",
            "vi mkfs.conf",
            "history | grep reboot",
            "which reboot shutdown halt",
            "chmod -R 755 /srv",
            "systemctl status reboot.target",
            "cat /etc/shadow.bak",
            "docker run --name halt x",
            "",
        ];
        for line in calm {
            assert_eq!(of_line(&usual, line).map(ToString::to_string), None, "{line}");
        }
    }

    #[test]
    fn patterns_are_words() {
        let table = [
            ("git push --force", "git push origin --force", true),
            ("git push --force", "git push --force-with-lease", false),
            ("kubectl delete *", "kubectl delete pod x", true),
            ("kubectl delete *", "kubectl get pods", false),
            ("*sql drop", "mysql -e dropped", false),
            ("*sql *drop*", "mysql -e 'drop table x'", true),
            ("/opt/*", "/opt/x/run", true),
            ("/opt/*", "run", false),
            ("a*b*c", "aXbXc", true),
            ("a*b*c", "aXcXb", false),
            ("x -ab", "x -b y -a", true),
            ("x -ab", "x -- -ab", false),
            ("x -name", "x -name y", true),
        ];
        for (pattern, line, alerts) in table {
            let patterns = [Pattern::parse(pattern).unwrap()];
            assert_eq!(of_line(&patterns, line).is_some(), alerts, "{pattern}: {line}");
        }
        for text in ["", "  ", "-rf"] {
            assert!(Pattern::parse(text).unwrap_err().contains("like"), "{text}");
        }
        let words = ["sh", "-c", "rm -rf /"].map(str::to_owned);
        assert!(of_command(&Pattern::usual(), &words).is_some());
        let words = ["echo", "; rm -rf /"].map(str::to_owned);
        assert!(of_command(&Pattern::usual(), &words).is_none());
    }
}
