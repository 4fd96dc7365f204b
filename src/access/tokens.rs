//! `tokens=FILE`: who holds which token, and what it opens. The file has hashes of tokens, never the tokens.
//!
//! ```toml
//! [[token]]
//! user = "ada"
//! sha256 = "…"                        # 64 hexadecimal digits
//! expires = 2027-03-01T00:00:00Z      # optional; a day alone begins at midnight UTC
//! enter = ["shop/*"]                  # a shell
//! attach = ["*/*"]                    # what the container says
//! exec = ["shop/web", "container:db"] # one command
//! watch = ["shop/*"]                  # what others do there, read only
//! record = ["shop/db"]                # where sessions must be recorded
//! ```
//! A plain SHA-256 is right here: a slow hash protects what people choose, which can be guessed; these tokens are 256
//! random bits, which cannot, and a slow hash would only let strangers burn the processor.

use super::{Grant, Grants, Question, Recheck, Right, UnixSeconds, Verdict};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use subtle::ConstantTimeEq;
use toml::de::{DeTable, DeValue};

/// What every token begins with, so that a leaked one is recognised.
pub const TOKEN_PREFIX: &str = "entry_";
/// How many random bytes are in a token.
pub const TOKEN_RANDOM_BYTES: usize = 32;
/// The file, in bytes.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A user's name, in bytes.
pub const USER_BYTES_MAX: usize = 128;

/// SHA-256 of a token.
pub type TokenHash = [u8; 32];

/// What a token is called in records: the first bytes of its SHA-256, by which nobody finds the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenId(pub [u8; 6]);

impl TokenId {
    /// That of the token with this hash.
    pub fn of(hash: &TokenHash) -> TokenId {
        let [a, b, c, d, e, f, ..] = *hash;
        TokenId([a, b, c, d, e, f])
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    holders: Vec<Holder>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    hash: TokenHash,
    user: String,
    expires: Option<UnixSeconds>,
    grants: Grants,
}

/// What is wrong with the file. It repeats nothing of the file: that may be a token in the wrong place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokensError {
    /// From 1.
    pub line: usize,
    /// What is wrong, and what to write.
    pub text: String,
}

impl fmt::Display for TokensError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

impl Tokens {
    /// Reads the file's text.
    ///
    /// # Errors
    /// The first mistake, with its line.
    pub fn parse(text: &str) -> Result<Tokens, TokensError> {
        let lines = Lines(text);
        let table = DeTable::parse(text).map_err(|error| {
            lines.error(
                error.span().map_or(0, |span| span.start),
                "this is not TOML here; see the README for an example",
            )
        })?;
        let mut holders = Vec::new();
        for (key, value) in table.get_ref() {
            let at = key.span().start;
            if key.get_ref() != "token" {
                return Err(lines.error(at, "there are [[token]] tables here, and nothing else"));
            }
            let DeValue::Array(tables) = value.get_ref() else {
                return Err(lines.error(at, "write [[token]], in two pairs of brackets"));
            };
            for table in tables {
                let at = table.span().start;
                let DeValue::Table(table) = table.get_ref() else {
                    return Err(lines.error(at, "write [[token]], in two pairs of brackets"));
                };
                holders.push(read_holder(&lines, at, table)?);
            }
        }
        for (number, holder) in holders.iter().enumerate() {
            if holders[..number].iter().any(|other| other.hash == holder.hash) {
                let at = text.rmatch_indices(&hex(&holder.hash)).next().map_or(0, |(at, _)| at);
                return Err(lines
                    .error(at, "this hash stands in the file twice; give each person a token of their own"));
            }
        }
        Ok(Tokens { holders })
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.holders.len()
    }

    /// Nobody has a token.
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// The file's answer; `None` where it is not about this token, so that the next rule is asked.
    pub fn verdict(&self, question: &Question, wall: UnixSeconds) -> Option<Verdict> {
        let hash = question.token.hash()?;
        let Some(holder) = self.holder(&hash) else {
            let ours = question.token.text().starts_with(TOKEN_PREFIX);
            return ours.then(|| Verdict::Refused("This token is not known here (any more).".to_owned()));
        };
        if holder.expires.is_some_and(|expires| wall >= expires) {
            return Some(Verdict::Refused("The token has expired.".to_owned()));
        }
        let grant = Grant { expires: holder.expires, recheck: Recheck::ByHash, ..Grant::new(&holder.user) };
        Some(grant.within(&holder.grants, question))
    }

    /// Compares with every hash, in constant time each, whether one has matched or not.
    fn holder(&self, hash: &TokenHash) -> Option<&Holder> {
        let mut found = None;
        for holder in &self.holders {
            if bool::from(holder.hash.ct_eq(hash)) {
                found = Some(holder);
            }
        }
        found
    }
}

/// A new token out of random bytes: as long as they are secret, so is it.
pub fn new_token(random: [u8; TOKEN_RANDOM_BYTES]) -> String {
    format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(random))
}

/// What stands in the file for a token.
pub fn hash(token: &str) -> TokenHash {
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

/// A hash as it stands in the file.
pub fn hex(hash: &TokenHash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_holder(lines: &Lines<'_>, at: usize, table: &DeTable<'_>) -> Result<Holder, TokensError> {
    let mut user = None;
    let mut hash = None;
    let mut expires = None;
    let mut grants = Grants::default();
    for (key, value) in table {
        let at = value.span().start;
        let name: &str = key.get_ref();
        match (name, value.get_ref()) {
            ("user", DeValue::String(text)) => {
                let plain =
                    !text.is_empty() && text.len() <= USER_BYTES_MAX && !text.contains(char::is_control);
                user = plain.then(|| text.to_string());
                if user.is_none() {
                    return Err(lines.error(at, "a user's name has 1 to 128 bytes and no control characters"));
                }
            }
            ("sha256", DeValue::String(text)) => {
                hash = from_hex(text);
                if hash.is_none() {
                    let text = "sha256 takes 64 hexadecimal digits, the hash of a token and not the token; entry token new makes both";
                    return Err(lines.error(at, text));
                }
            }
            ("expires", DeValue::Datetime(time)) => {
                expires = unix_seconds(time);
                if expires.is_none() {
                    let text = "expires takes a time with its zone, like 2027-03-01T00:00:00Z, or a day, like 2027-03-01";
                    return Err(lines.error(at, text));
                }
            }
            ("enter" | "attach" | "exec" | "watch" | "record", DeValue::Array(patterns)) => {
                for pattern in patterns {
                    let at = pattern.span().start;
                    let DeValue::String(text) = pattern.get_ref() else {
                        return Err(lines.error(at, "a pattern is a text in quotes"));
                    };
                    let added = match Right::named(name) {
                        Some(right) => grants.add(right, text),
                        None => grants.add_recorded(text),
                    };
                    added.map_err(|mistake| lines.error(at, mistake))?;
                }
            }
            ("enter" | "attach" | "exec" | "watch" | "record", _) => {
                return Err(lines.error(at, "write a list of patterns, like [\"shop/*\"]"));
            }
            ("user" | "sha256", _) => return Err(lines.error(at, "write a text in quotes")),
            ("expires", _) => {
                return Err(lines.error(at, "expires takes a time without quotes, like 2027-03-01T00:00:00Z"));
            }
            _ => {
                let text = "a token has user, sha256, expires, enter, attach, exec, watch and record, and nothing else";
                return Err(lines.error(key.span().start, text));
            }
        }
    }
    match (user, hash) {
        (Some(user), Some(hash)) => Ok(Holder { hash, user, expires, grants }),
        (None, _) => Err(lines.error(at, "this token has no user")),
        (_, None) => Err(lines.error(at, "this token has no sha256")),
    }
}

/// Tells the line of a byte.
struct Lines<'a>(&'a str);

impl Lines<'_> {
    fn error(&self, at: usize, text: &str) -> TokensError {
        let before = &self.0.as_bytes()[..at.min(self.0.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        TokensError { line, text: text.to_owned() }
    }
}

fn from_hex(text: &str) -> Option<TokenHash> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut hash = [0; 32];
    if text.len() != 2 * hash.len() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(hash)
}

/// A TOML time as seconds since 1970; a time without its zone is none.
fn unix_seconds(time: &toml::value::Datetime) -> Option<UnixSeconds> {
    let date = time.date?;
    let of_day = match (time.time, time.offset) {
        (None, None) => 0,
        (Some(clock), Some(offset)) => {
            let minutes = match offset {
                toml::value::Offset::Z => 0,
                toml::value::Offset::Custom { minutes } => i64::from(minutes),
            };
            let second = clock.second.unwrap_or(0);
            i64::from(clock.hour) * 3600 + i64::from(clock.minute) * 60 + i64::from(second) - minutes * 60
        }
        _ => return None,
    };
    let days = days_since_1970(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    u64::try_from(days * 86_400 + of_day).ok()
}

/// Days of the Gregorian calendar; years begin in March here, so that a leap day is a year's last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_of_years = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between March 1 of the year 0 and 1970.
    days_of_years + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm, reason = "what a test does not expect ends it")]
mod tests {
    use super::super::{Token, tests::question};
    use super::*;

    const ADA: &str = "entry_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn file() -> String {
        format!(
            "# people\n[[token]]\nuser = \"ada\"\nsha256 = \"{}\"\nexpires = 2027-03-01T02:00:00+02:00\n\
             enter = [\"shop/*\"]\nexec = [\"container:db\"]\nrecord = [\"*/web\"]\n\n[[token]]\nuser = \"bob\"\nsha256 = \"{}\"\n",
            hex(&hash(ADA)),
            "00".repeat(32)
        )
    }

    fn asks(token: &str, right: Right) -> Question {
        Question { token: Token::Text(token.to_owned()), right, ..question() }
    }

    const MARCH_2027: UnixSeconds = 1_803_859_200;

    #[test]
    fn a_holder_may_do_what_the_file_says_until_it_expires() {
        let tokens = Tokens::parse(&file()).unwrap();
        assert_eq!(tokens.len(), 2);
        match tokens.verdict(&asks(ADA, Right::Enter), 5) {
            Some(Verdict::Allowed(grant)) => {
                assert_eq!((grant.user.as_str(), grant.expires), ("ada", Some(MARCH_2027)));
                assert_eq!(grant.record, Some(true), "it is shop/web that is asked for");
            }
            other => panic!("{other:?}"),
        }
        for right in [Right::Attach, Right::Exec] {
            assert!(matches!(tokens.verdict(&asks(ADA, right), 5), Some(Verdict::Refused(_))), "{right:?}");
        }
        assert!(matches!(
            tokens.verdict(&asks(ADA, Right::Enter), MARCH_2027 - 1),
            Some(Verdict::Allowed(_))
        ));
        match tokens.verdict(&asks(ADA, Right::Enter), MARCH_2027) {
            Some(Verdict::Refused(text)) => assert_eq!(text, "The token has expired."),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_unknown_token_of_ours_is_refused_and_others_are_left_to_the_next_rule() {
        let tokens = Tokens::parse(&file()).unwrap();
        assert!(matches!(tokens.verdict(&asks("entry_x", Right::Enter), 5), Some(Verdict::Refused(_))));
        assert_eq!(tokens.verdict(&asks("something else", Right::Enter), 5), None);
        assert_eq!(tokens.verdict(&asks("", Right::Enter), 5), None);
        // The hash of a token is no token.
        assert_eq!(tokens.verdict(&asks(&hex(&hash(ADA)), Right::Enter), 5), None);
    }

    #[test]
    fn a_hash_that_was_kept_is_as_good_as_the_token() {
        let kept = Question { token: Token::Hash(hash(ADA)), ..question() };
        let tokens = Tokens::parse(&file()).unwrap();
        assert!(matches!(tokens.verdict(&kept, 5), Some(Verdict::Allowed(_))));
        assert_eq!(Tokens::parse("").unwrap().verdict(&kept, 5), None);
    }

    #[test]
    fn mistakes_name_the_line_and_repeat_nothing() {
        let hash = "0".repeat(64);
        let table = [
            ("[[token]]\nuser = \"a\"\nsha256 = \"SECRET\"\n", 3, "64 hexadecimal digits"),
            ("[[token]]\nuser = \"a\"\n", 1, "no sha256"),
            (&format!("\n\n[[token]]\nsha256 = \"{hash}\"\n"), 3, "no user"),
            ("[[token]]\nuser = 7\n", 2, "in quotes"),
            ("[[token]]\nuser = \"a\\u0007SECRET\"\n", 2, "control characters"),
            ("[[token]]\nenter = \"SECRET\"\n", 2, "list of patterns"),
            ("[[token]]\nenter = [\n \"a/b\",\n \"SECRET\"]\n", 4, "APP/PROC"),
            ("[[token]]\nenter = [7]\n", 2, "in quotes"),
            ("[[token]]\nSECRET = \"x\"\n", 2, "nothing else"),
            ("[[token]]\nexpires = 2027-03-01T00:00:00\n", 2, "with its zone"),
            ("[[token]]\nexpires = \"SECRET\"\n", 2, "without quotes"),
            ("[token]\nuser = \"SECRET\"\n", 1, "two pairs"),
            ("user = \"SECRET\"\n", 1, "[[token]]"),
            ("[[token]]\nuser = \"SECRET\n", 2, "not TOML"),
            ("[[token]]\nSECRET SECRET\n", 2, "not TOML"),
            (
                &format!(
                    "[[token]]\nuser = \"a\"\nsha256 = \"{hash}\"\n[[token]]\nuser = \"b\"\nsha256 = \"{hash}\"\n"
                ),
                6,
                "twice",
            ),
        ];
        for (text, line, words) in table {
            let error = Tokens::parse(text).unwrap_err();
            assert!(error.text.contains(words) && error.line == line, "{text}: {error}");
            assert!(!error.to_string().contains("SECRET"), "{error}");
        }
    }

    #[test]
    fn times_of_the_file() {
        let table = [
            ("1970-01-01", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600)),
            ("2027-03-01", Some(MARCH_2027)),
            ("2026-11-21T23:59:59.5-01:30", Some(1_795_310_999)),
            ("2027-03-01T00:00:00", None),
            ("00:00:00", None),
            ("1969-12-31", None),
        ];
        for (text, expected) in table {
            assert_eq!(unix_seconds(&text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn new_tokens_are_long_and_recognised() {
        let token = new_token([255; TOKEN_RANDOM_BYTES]);
        assert!(token.starts_with(TOKEN_PREFIX) && token.len() == 6 + 43);
        assert_eq!(hex(&hash("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
