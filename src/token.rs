//! `entry token`: makes tokens for `--access tokens=FILE`.

use crate::access::tokens::{self, TOKEN_RANDOM_BYTES, Tokens};
use crate::sys;
use lexopt::prelude::{Long, Short, Value, ValueExt};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

/// What `entry token --help` prints.
pub const HELP: &str = "\
Make a token for entry serve --access tokens=FILE.

Usage: entry token new --user NAME [OPTIONS]

      --user NAME        whose it is
      --enter PATTERN    where its owner may have a shell; repeatable, as the next three
      --attach PATTERN   whose output he may follow
      --exec PATTERN     where he may run one command
      --watch PATTERN    where he may see what others do
      --expires TIME     2027-03-01, or 2027-03-01T12:00:00Z  [never]
      --append FILE      write the file's part into FILE; without it, it goes to stderr
  -h, --help             this text

PATTERN is APP/PROC, APP/PROC/INSTANCE or container:NAME; * stands for anything. The token itself goes to stdout, this
once: the file has only its hash.
";

/// What is asked for.
struct Wish {
    part: String,
    token: String,
    append: Option<String>,
}

/// Runs `entry token`; gives the process's exit status.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let done = match read(arguments) {
        Ok(Some(wish)) => hand_out(&wish).map_err(|error| (1, error)),
        Ok(None) => {
            let _ = io::stdout().write_all(HELP.as_bytes());
            Ok(())
        }
        Err(mistake) => Err((2, mistake)),
    };
    match done {
        Ok(()) => 0,
        Err((status, text)) => {
            let _ = writeln!(io::stderr(), "entry token: {text}");
            status
        }
    }
}

/// The value of the option that was just read.
fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().and_then(|value| value.string()).map_err(|error| error.to_string())
}

fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Wish>, String> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut is_new = false;
    let (mut user, mut expires, mut append) = (None, None, None);
    let mut rights = ["enter", "attach", "exec", "watch"].map(|right| (right, Vec::new()));
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Value(word) if word == "new" && !is_new => is_new = true,
            Long("user") => user = Some(text(&mut parser)?),
            Long("enter") => rights[0].1.push(text(&mut parser)?),
            Long("attach") => rights[1].1.push(text(&mut parser)?),
            Long("exec") => rights[2].1.push(text(&mut parser)?),
            Long("watch") => rights[3].1.push(text(&mut parser)?),
            Long("expires") => expires = Some(text(&mut parser)?),
            Long("append") => append = Some(text(&mut parser)?),
            Short('h') | Long("help") => return Ok(None),
            other @ (Short(_) | Long(_) | Value(_)) => {
                return Err(format!("{}; see entry token --help", other.unexpected()));
            }
        }
    }
    let (true, Some(user)) = (is_new, user) else {
        return Err("say entry token new --user NAME; see entry token --help".to_owned());
    };
    let random =
        sys::random_bytes::<TOKEN_RANDOM_BYTES>().map_err(|error| format!("no random bytes: {error}"))?;
    let token = tokens::new_token(random);
    let mut part =
        format!("[[token]]\nuser = {}\nsha256 = \"{}\"\n", quoted(&user), tokens::hex(&tokens::hash(&token)));
    // Writing to a String cannot fail.
    for (right, patterns) in rights.iter().filter(|(_, patterns)| !patterns.is_empty()) {
        let patterns: Vec<String> = patterns.iter().map(|pattern| quoted(pattern)).collect();
        let _ = writeln!(part, "{right} = [{}]", patterns.join(", "));
    }
    if let Some(expires) = expires {
        let _ = writeln!(part, "expires = {expires}");
    }
    // What the gateway would not read is not written.
    Tokens::parse(&part).map_err(|mistake| mistake.text)?;
    Ok(Some(Wish { part, token, append }))
}

/// A basic string of TOML, which JSON's are too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn hand_out(wish: &Wish) -> Result<(), String> {
    match &wish.append {
        Some(path) => {
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
            file.and_then(|mut file| file.write_all(format!("\n{}", wish.part).as_bytes()))
                .map_err(|error| format!("{path} cannot be written: {error}"))?;
        }
        None => {
            let _ = write!(io::stderr(), "For the file of --access tokens=FILE:\n\n{}\n", wish.part);
        }
    }
    writeln!(io::stdout(), "{}", wish.token).map_err(|error| format!("the token cannot be shown: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(arguments: &[&str]) -> Result<Option<Wish>, String> {
        read(arguments.iter().map(OsString::from))
    }

    #[test]
    fn a_new_token_s_part_is_one_that_the_gateway_reads() {
        let arguments = [
            "new",
            "--user",
            "ada \"l\"",
            "--enter",
            "shop/*",
            "--enter",
            "a/b",
            "--exec",
            "container:db",
            "--watch",
            "shop/*",
            "--expires",
            "2027-03-01",
        ];
        let wish = wish(&arguments).unwrap().unwrap();
        assert!(wish.token.starts_with("entry_") && !wish.part.contains(&wish.token));
        assert!(
            wish.part
                .contains("enter = [\"shop/*\", \"a/b\"]\nexec = [\"container:db\"]\nwatch = [\"shop/*\"]\nexpires = 2027-03-01\n")
        );
        assert_eq!(Tokens::parse(&wish.part).unwrap().len(), 1);
    }

    #[test]
    fn mistakes_say_what_to_do() {
        let table: [(&[&str], &str); 7] = [
            (&[], "entry token new --user"),
            (&["new"], "--user NAME"),
            (&["old", "--user", "a"], "entry token --help"),
            (&["new", "--user", "a", "--enter", "shop"], "APP/PROC"),
            (&["new", "--user", "a", "--expires", "tomorrow"], "TOML"),
            (&["new", "--user", "a", "--expires", "2027-03-01T00:00:00"], "with its zone"),
            (&["new", "--user", ""], "user's name"),
        ];
        for (arguments, words) in table {
            let error = wish(arguments).err().unwrap_or_default();
            assert!(error.contains(words), "{arguments:?}: {error}");
        }
    }
}
