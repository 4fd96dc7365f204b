//! Who is in: rows of sessions as JSON, which of them are meant, and the end of one.

use super::routes::Answer;
use crate::gateway::Insight;
use crate::gateway::desk::{Filter, Row};
use crate::logging::utc;
use crate::wire::http::RequestHead;
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// How many rows a page has, unless it is said.
const ROWS_USUAL: usize = 100;
/// How many it may have.
const ROWS_MAX: usize = 10_000;
/// How long an operator's word to a person may be.
const REASON_CHARS_MAX: usize = 200;
/// What a list can be asked by.
const QUESTIONS: [&str; 8] = ["user", "target", "container", "engine", "address", "state", "limit", "after"];

/// A page of the list.
#[derive(Serialize)]
struct Page<'a> {
    sessions: Vec<Told<'a>>,
    /// How many are meant, on this page and others.
    total: usize,
    /// What `after` takes for the next page; none on the last one.
    next: Option<&'a str>,
}

/// A session.
#[derive(Serialize)]
struct Told<'a> {
    id: &'a str,
    state: &'a str,
    user: Option<&'a str>,
    token: Option<&'a str>,
    right: Option<&'static str>,
    target: Option<&'a str>,
    command: Option<&'a [String]>,
    container: Option<&'a str>,
    engine: Option<&'a str>,
    address: Option<String>,
    since: Option<String>,
    seconds: Option<u64>,
    input_bytes: u64,
    output_bytes: u64,
    held_bytes: u64,
}

impl<'a> Told<'a> {
    fn of(row: &'a Row) -> Told<'a> {
        let given = |text: &'a str| Some(text).filter(|text| !text.is_empty());
        let since = row.since.and_then(|since| since.duration_since(UNIX_EPOCH).ok());
        let asked = row.asked.as_ref();
        Told {
            id: &row.id,
            state: row.state,
            user: row.user.as_deref(),
            token: asked.and_then(|asked| given(&asked.token)),
            right: asked.map(|asked| asked.right.name()),
            target: asked.map(|asked| &asked.target[..]),
            command: asked.map(|asked| &asked.command[..]).filter(|command| !command.is_empty()),
            container: given(&row.container),
            engine: given(&row.engine),
            address: row.address.map(|address| address.to_string()),
            since: since.map(|since| utc(since.as_secs(), 0)),
            seconds: row
                .since
                .and_then(|since| SystemTime::now().duration_since(since).ok())
                .map(|age| age.as_secs()),
            input_bytes: row.input_bytes,
            output_bytes: row.output_bytes,
            held_bytes: row.held_bytes,
        }
    }
}

pub(super) fn list(request: &RequestHead<'_>, insight: &Insight) -> Answer {
    let (filter, limit) = match wanted(request) {
        Ok(wanted) => wanted,
        Err(text) => return Answer::text(400, text + "\n"),
    };
    let after = match request.query("after").map(|id| insight.desk.number(&id)) {
        None => 0,
        Some(Some(number)) => number,
        Some(None) => return Answer::text(400, "after takes the id of a session of this gateway.\n"),
    };
    let rows = match insight.desk.list(filter) {
        Ok(rows) => rows,
        Err(error) => return Answer::text(503, format!("{error}\n")),
    };
    let begin = rows.partition_point(|row| row.number <= after);
    let end = rows.len().min(begin.saturating_add(limit));
    let page = Page {
        sessions: rows[begin..end].iter().map(Told::of).collect(),
        total: rows.len(),
        next: (end < rows.len()).then(|| rows[begin..end].last().map(|row| &row.id[..])).flatten(),
    };
    match serde_json::to_string(&page) {
        Ok(text) => Answer::json(text + "\n"),
        Err(error) => Answer::text(500, format!("{error}\n")),
    }
}

/// Which sessions are meant, and how many of them a page has.
fn wanted(request: &RequestHead<'_>) -> Result<(Filter, usize), String> {
    let (_, query) = request.target.split_once('?').unwrap_or_default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split('=').next().unwrap_or_default();
        // A filter that is misspelt would show everybody.
        if !QUESTIONS.contains(&name) {
            return Err(format!("A list is asked by {}.", QUESTIONS.join(", ")));
        }
    }
    let text = |name| request.query(name).map(|text| text.into_owned());
    let limit = match text("limit") {
        None => ROWS_USUAL,
        Some(limit) => limit
            .parse()
            .ok()
            .filter(|limit| (1..=ROWS_MAX).contains(limit))
            .ok_or_else(|| format!("limit takes a number from 1 to {ROWS_MAX}."))?,
    };
    let address = match text("address") {
        None => None,
        Some(address) => Some(address.parse().map_err(|_| "address takes an IP address.".to_owned())?),
    };
    let filter = Filter {
        user: text("user"),
        target: text("target"),
        container: text("container"),
        engine: text("engine"),
        address,
        state: text("state"),
    };
    Ok((filter, limit))
}

pub(super) fn end(id: &str, request: &RequestHead<'_>, insight: &Insight) -> Answer {
    let reason = request.query("reason").unwrap_or_default();
    let reason: String = reason.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect();
    let reason = if reason.trim().is_empty() { "no reason was given.".to_owned() } else { reason };
    match insight.desk.end(id, &reason) {
        Ok(true) => Answer::text(200, "It is ended.\n"),
        Ok(false) => Answer::text(404, "There is no such session here (any more).\n"),
        Err(error) => Answer::text(503, format!("{error}\n")),
    }
}
