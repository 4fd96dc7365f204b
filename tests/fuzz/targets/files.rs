//! Files of the operator, and tokens of clients.

use core::net::{IpAddr, Ipv4Addr};
use entry::access::jwt::{Claims, Fetched};
use entry::access::{Jwt, Now, Question, Right, Rule, Rules, Token, Tokens};
use entry::config::{Surroundings, Wish, parse};
use entry::locate::Target;
use std::ffi::OsString;
use std::io;
use std::sync::Arc;

/// `--config FILE`.
pub(super) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let surroundings = Surroundings {
        variable: &|_| None,
        // Only the file itself is there: what it names is not.
        file: &|path| {
            if path == "entry.toml" { Ok(text.to_owned()) } else { Err(io::ErrorKind::NotFound.into()) }
        },
    };
    let arguments = ["--config", "entry.toml"].map(OsString::from);
    match parse("serve", arguments, &surroundings) {
        Ok(Wish::Do(_) | Wish::Help) => {}
        Err(error) => assert!(!error.is_empty()),
    }
}

/// A question of somebody with this token.
fn question(token: &str) -> Question {
    Question {
        token: Token::Text(token.to_owned()),
        right: Right::Enter,
        target: Target::App { app: "shop".to_owned(), proc: "web".to_owned(), instance: String::new() },
        command: Vec::new(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

fn ask(rule: Rule, token: &str) {
    let mut keys = Fetched::default();
    let _ = Rules::new(vec![rule]).begin(&question(token), &mut Now { wall: 1_800_000_000, keys: &mut keys });
}

/// The file of `--access tokens=FILE`.
pub(super) fn tokens(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Tokens::parse(text) {
        Ok(tokens) => ask(Rule::Tokens(Arc::new(tokens)), "entry_s3cret"),
        // What stands in the file is nobody's business.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn claims() -> Claims {
    Claims {
        audience: "entry".to_owned(),
        issuer: None,
        skew_seconds: 60,
        grants: "entry".to_owned(),
        user: "sub".to_owned(),
    }
}

/// A file of keys, and a token.
pub(super) fn jwt(data: &[u8]) {
    if let Ok(jwt) = Jwt::with_keys(data, claims()) {
        ask(Rule::Jwt(Arc::new(jwt)), "a.b.c");
    }
    let jwt = Jwt::with_secret(&[b'k'; 64], claims()).expect("a long secret");
    ask(Rule::Jwt(Arc::new(jwt)), &String::from_utf8_lossy(data));
}
