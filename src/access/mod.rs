//! May this token enter this target, and who is it? Builds the question, reads the verdict.
//!
//! [`Rules`] are asked in order; the first answer decides, and where none answers nobody enters. A rule knows by itself
//! (`anonymous`, `tokens`, `jwt`), or asks a service and waits for the reply:
//!
//! ```text
//! begin ──► Ask ──► answer ──► Decided: Allowed | Refused | Unavailable
//!            ▲         │
//!            └─────────┘ the rule's next question, or the next rule's
//! ```
//! Whatever goes wrong with a service ends in `Unavailable`, which lets nobody in.
//!
//! May not know: sockets, files, clocks (the time is an argument), randomness, logs, sessions.

pub mod grants;
pub mod jwt;
mod lain;
pub mod spec;
pub mod tokens;
mod webhook;

pub use grants::{Grants, Permission};
pub use jwt::Jwt;
pub use lain::Lain;
pub use spec::Spec;
pub use tokens::Tokens;
pub use webhook::Webhook;

use crate::locate::Target;
use crate::service::{Service, ServiceId};
use crate::wire::http::Reply;
use core::net::IpAddr;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Seconds since 1970, by the driver's wall clock.
pub type UnixSeconds = u64;

/// What may be done in a container. These are separate rights: none contains another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// A shell.
    Enter,
    /// The container's own output.
    Attach,
    /// One command.
    Exec,
    /// What happens in somebody's open session, read only.
    Watch,
    /// Not a right to be granted: what others there are, is asked.
    List,
}

impl Right {
    /// All that can be granted.
    pub const ALL: [Right; 4] = [Right::Enter, Right::Attach, Right::Exec, Right::Watch];

    /// Its word, in files, claims and questions.
    pub fn name(self) -> &'static str {
        match self {
            Right::Enter => "enter",
            Right::Attach => "attach",
            Right::Exec => "exec",
            Right::Watch => "watch",
            Right::List => "list",
        }
    }

    /// The right of this word.
    pub fn named(word: &str) -> Option<Right> {
        Right::ALL.into_iter().find(|right| right.name() == word)
    }
}

/// What proves who asks. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    /// As it came; empty where none came.
    Text(String),
    /// What is left of it once the session is open, where that is enough to ask again.
    Hash(tokens::TokenHash),
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Token::Text(text) => text,
            Token::Hash(_) => "",
        }
    }

    fn hash(&self) -> Option<tokens::TokenHash> {
        match self {
            Token::Text(text) if text.is_empty() => None,
            Token::Text(text) => Some(tokens::hash(text)),
            Token::Hash(hash) => Some(*hash),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// A service of the settings, as a rule asks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its place among the settings' services.
    pub id: ServiceId,
    /// What requests to it look like.
    pub service: Service,
}

/// Who asks for what.
#[derive(Clone, PartialEq, Eq)]
pub struct Question {
    /// The proof.
    pub token: Token,
    /// What is to be done.
    pub right: Right,
    /// Where.
    pub target: Target,
    /// The command with its arguments; empty for a shell.
    pub command: Vec<String>,
    /// Where the client is.
    pub address: IpAddr,
}

impl Question {
    /// What the token is called in records; none where none came.
    pub fn token_id(&self) -> Option<tokens::TokenId> {
        self.token.hash().map(|hash| tokens::TokenId::of(&hash))
    }
}

/// The command may hold secrets too.
impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("right", &self.right)
            .field("target", &self.target)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// How rights can be looked at again while the session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recheck {
    /// There is nothing to ask: they end when they expire.
    Never,
    /// By the token's hash alone.
    ByHash,
    /// By asking the service once more, for which it needs the token.
    ByToken,
}

/// Who somebody is. `anonymous`, which is everybody or nobody in a gateway, takes no memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User(Option<Box<str>>);

/// Who is let in without being asked who it is.
const ANONYMOUS: &str = "anonymous";

impl From<&str> for User {
    fn from(name: &str) -> User {
        User((name != ANONYMOUS).then(|| name.into()))
    }
}

impl Deref for User {
    type Target = str;

    fn deref(&self) -> &str {
        self.0.as_deref().unwrap_or(ANONYMOUS)
    }
}

/// What somebody is let in with.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who it is.
    pub user: String,
    /// When the rights end.
    pub expires: Option<UnixSeconds>,
    /// How long the session may last, from its beginning.
    pub lasts_seconds: Option<u32>,
    /// How they are looked at again.
    pub recheck: Recheck,
    /// A container that is asked for by name must be called so, by one of these patterns.
    pub names: Option<Vec<String>>,
    /// The container to enter, whatever was asked for.
    pub container: Option<String>,
    /// The engine on which it is.
    pub engine: Option<String>,
    /// The user in the container, whatever was asked for.
    pub run_as: Option<String>,
    /// The working directory, whatever was asked for.
    pub workdir: Option<String>,
    /// Whether the session must be recorded, or must not be; none where that is the gateway's to say.
    pub record: Option<bool>,
    /// Where the question was what somebody may enter: the answer.
    pub scope: Option<Scope>,
}

/// What somebody may enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// What these grants say.
    Of(Grants),
}

impl Grant {
    fn new(user: &str) -> Grant {
        Grant {
            user: user.to_owned(),
            expires: None,
            lasts_seconds: None,
            recheck: Recheck::Never,
            names: None,
            container: None,
            engine: None,
            run_as: None,
            workdir: None,
            record: None,
            scope: None,
        }
    }

    /// Allowed, if the grants cover what is asked for.
    fn within(mut self, grants: &Grants, question: &Question) -> Verdict {
        if question.right == Right::List {
            self.scope = Some(Scope::Of(grants.clone()));
            return Verdict::Allowed(Box::new(self));
        }
        match grants.permission(question.right, &question.target) {
            Permission::Granted => {}
            Permission::IfNamed(names) => self.names = Some(names),
            Permission::None => return Verdict::Refused(not_granted(question)),
        }
        self.record = grants.must_record(&question.target).then_some(true);
        Verdict::Allowed(Box::new(self))
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("user", &self.user)
            .field("expires", &self.expires)
            .field("recheck", &self.recheck)
            .field("container", &self.container)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

/// The answer. Its texts are for the person: one line, no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Come in.
    Allowed(Box<Grant>),
    /// Stay out.
    Refused(String),
    /// Nobody could say.
    Unavailable(String),
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is decided.
    Decided(Verdict),
    /// Send this HTTP request to the service and bring its whole reply, or why there is none, to [`Inquiry::answer`].
    Ask {
        /// Which service.
        service: ServiceId,
        /// A whole request.
        request: Vec<u8>,
    },
}

/// One `--access RULE`, with what it needs to answer.
#[derive(Debug, Clone)]
pub enum Rule {
    /// Everybody may do everything, and from this machine also watch.
    Anonymous,
    /// By a file of hashes.
    Tokens(Arc<Tokens>),
    /// By signed tokens.
    Jwt(Arc<Jwt>),
    /// By asking a service of the operator's.
    Webhook(Webhook),
    /// By asking LAIN's console.
    Lain(Lain),
}

impl Rule {
    fn begin(&self, question: &Question, now: &mut Now<'_>) -> Move {
        match self {
            // Everybody may enter, but nobody sees what others do: only whoever is at this machine anyway.
            Rule::Anonymous if question.right == Right::Watch && !question.address.is_loopback() => {
                Move::Decided(Verdict::Refused(
                    "Where nobody proves who he is, sessions are watched only from the gateway's own machine.".to_owned(),
                ))
            }
            Rule::Anonymous => {
                let scope = (question.right == Right::List).then_some(Scope::All);
                Move::Decided(Verdict::Allowed(Box::new(Grant { scope, ..Grant::new(ANONYMOUS) })))
            }
            Rule::Webhook(_) | Rule::Lain(_) if question.right == Right::List => Move::Decided(
                Verdict::Refused("Who may enter what is decided one by one here; type what you want.".to_owned()),
            ),
            Rule::Tokens(tokens) => Move::of(tokens.verdict(question, now.wall)),
            Rule::Jwt(jwt) => jwt.begin(question, now),
            Rule::Webhook(webhook) => webhook.begin(question),
            Rule::Lain(lain) => lain.begin(question),
        }
    }

    fn answer(&self, question: &Question, stage: Stage, reply: &Answer, now: &mut Now<'_>) -> Move {
        match self {
            Rule::Anonymous | Rule::Tokens(_) => Move::NotMine,
            Rule::Jwt(jwt) => jwt.answer(question, reply, now),
            Rule::Webhook(webhook) => webhook.answer(question, reply),
            Rule::Lain(lain) => lain.answer(question, stage, reply),
        }
    }
}

/// What a rule does next.
enum Move {
    /// The next rule's turn.
    NotMine,
    Decided(Verdict),
    Ask {
        service: ServiceId,
        request: Vec<u8>,
        stage: Stage,
    },
}

impl Move {
    fn of(verdict: Option<Verdict>) -> Move {
        verdict.map_or(Move::NotMine, Move::Decided)
    }

    fn unavailable(detail: impl Into<String>) -> Move {
        Move::Decided(Verdict::Unavailable(detail.into()))
    }
}

/// Which of a rule's questions waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The only one.
    Only,
    /// LAIN: what decides?
    Authority,
    /// LAIN: which role?
    Role,
    /// LAIN: who is it?
    Identity,
}

/// A service's reply, or why there is none.
pub type Answer = Result<Reply, String>;

/// The moment of a question: what time it is, and what has been learnt before.
#[derive(Debug)]
pub struct Now<'a> {
    /// The wall clock.
    pub wall: UnixSeconds,
    /// Keys that were fetched; they belong to the driver.
    pub keys: &'a mut jwt::Fetched,
}

/// All rules, in their order.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

impl Rules {
    /// These, in this order.
    pub fn new(rules: Vec<Rule>) -> Rules {
        Rules { rules }
    }

    /// Asks the first rule.
    pub fn begin(&self, question: &Question, now: &mut Now<'_>) -> (Inquiry, Step) {
        let mut inquiry = Inquiry { rule: 0, stage: Stage::Only };
        let step = inquiry.begin_from(0, self, question, now);
        (inquiry, step)
    }
}

/// A question that waits for a service's reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inquiry {
    rule: usize,
    stage: Stage,
}

impl Inquiry {
    /// Goes on with a service's reply. Rules and question are those it began with.
    pub fn answer(&mut self, rules: &Rules, question: &Question, reply: &Answer, now: &mut Now<'_>) -> Step {
        let Some(rule) = rules.rules.get(self.rule) else { return no_rule(question) };
        match rule.answer(question, self.stage, reply, now) {
            Move::NotMine => self.begin_from(self.rule + 1, rules, question, now),
            Move::Decided(verdict) => Step::Decided(verdict),
            Move::Ask { service, request, stage } => {
                self.stage = stage;
                Step::Ask { service, request }
            }
        }
    }

    fn begin_from(&mut self, first: usize, rules: &Rules, question: &Question, now: &mut Now<'_>) -> Step {
        for (number, rule) in rules.rules.iter().enumerate().skip(first) {
            match rule.begin(question, now) {
                Move::NotMine => {}
                Move::Decided(verdict) => return Step::Decided(verdict),
                Move::Ask { service, request, stage } => {
                    *self = Inquiry { rule: number, stage };
                    return Step::Ask { service, request };
                }
            }
        }
        no_rule(question)
    }
}

fn no_rule(question: &Question) -> Step {
    let text = match &question.token {
        Token::Text(text) if text.is_empty() => {
            "No token was given: set ENTRY_TOKEN, or use --token-file (an old client: sign in again)."
        }
        Token::Text(_) => "This token is not known here.",
        Token::Hash(_) => "The token is not known here any more.",
    };
    Step::Decided(Verdict::Refused(text.to_owned()))
}

/// What a token is told that is not for watching: the same, whether there is such a session or not.
pub const NOT_FOR_WATCHING: &str =
    "There is no such session here (any more), or the token is not for watching it.";

fn not_granted(question: &Question) -> String {
    let what = match question.right {
        // Who may not watch is not told where the session is.
        Right::Watch => return NOT_FOR_WATCHING.to_owned(),
        // It is answered before.
        Right::List => "a list with",
        Right::Enter => "a shell in",
        Right::Attach => "the output of",
        Right::Exec => "running commands in",
    };
    let target = match &question.target {
        Target::App { app, proc, instance } if instance.is_empty() => format!("{app}/{proc}"),
        Target::App { app, proc, instance } => format!("{app}/{proc}/{instance}"),
        Target::Container(name) => format!("container {name}"),
    };
    format!("The token is not for {what} {}.", one_line(&target))
}

/// How many characters of a peer's text are shown.
const SHOWN_CHARS_MAX: usize = 200;

/// A peer's text on one line, bounded, without control characters.
fn one_line(text: &str) -> String {
    let line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_CHARS_MAX).collect();
    line.trim().to_owned()
}

/// A service's whole answer with status 200; else one sentence on what came instead.
fn good<'a>(reply: &'a Answer, who: &str) -> Result<&'a [u8], String> {
    match reply {
        Ok(reply) if reply.status() == 200 => Ok(&reply.body),
        Ok(reply) => Err(format!("{who} answers with status {}.", reply.status())),
        Err(trouble) => Err(format!("{who} does not answer: {}.", one_line(trouble))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{Expect, ReplyReader};
    use core::net::Ipv4Addr;

    /// A shell in shop/web, without a token.
    pub(super) fn question() -> Question {
        let part = str::to_owned;
        Question {
            token: Token::Text(String::new()),
            right: Right::Enter,
            target: Target::App { app: part("shop"), proc: part("web"), instance: String::new() },
            command: Vec::new(),
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        }
    }

    pub(super) fn reply(status: u16, body: &str) -> Answer {
        let bytes = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let mut reader = ReplyReader::new("GET", Expect::Whole, 4096, 1 << 20);
        Ok(reader.feed(bytes.as_bytes()).unwrap().1.unwrap())
    }

    /// A short name of what comes next.
    pub(super) fn kind(step: &Step) -> &'static str {
        match step {
            Step::Decided(Verdict::Allowed(_)) => "allowed",
            Step::Decided(Verdict::Refused(_)) => "refused",
            Step::Decided(Verdict::Unavailable(_)) => "unavailable",
            Step::Ask { .. } => "ask",
        }
    }

    pub(super) fn asked(id: u16, url: &str) -> Asked {
        Asked { id: ServiceId(id), service: Service::parse("it", url, 4000).unwrap() }
    }

    fn webhook(id: u16) -> Rule {
        Rule::Webhook(Webhook::new(asked(id, "http://hook.example/a")))
    }

    fn begin(rules: &Rules, question: &Question) -> (Inquiry, Step) {
        let mut keys = jwt::Fetched::default();
        rules.begin(question, &mut Now { wall: 5, keys: &mut keys })
    }

    #[test]
    fn the_first_answer_decides() {
        let tokens = || Rule::Tokens(Arc::new(Tokens::parse("").unwrap()));
        let with = |token: &str| Question { token: Token::Text(token.to_owned()), ..question() };
        let table: [(Vec<Rule>, &str, &str); 8] = [
            (vec![], "", "refused"),
            (vec![Rule::Anonymous], "", "allowed"),
            (vec![Rule::Anonymous], "whatever", "allowed"),
            (vec![tokens()], "", "refused"),
            (vec![tokens()], "unknown", "refused"),
            (vec![tokens(), Rule::Anonymous], "unknown", "allowed"),
            // A token of ours that is not in the file has its answer.
            (vec![tokens(), Rule::Anonymous], "entry_unknown", "refused"),
            (vec![tokens(), webhook(3), Rule::Anonymous], "unknown", "ask"),
        ];
        for (rules, token, expected) in table {
            let (_, step) = begin(&Rules::new(rules.clone()), &with(token));
            assert_eq!(kind(&step), expected, "{rules:?} {token:?}");
        }
    }

    #[test]
    fn an_inquiry_goes_on_where_it_waited() {
        let rules =
            Rules::new(vec![Rule::Tokens(Arc::new(Tokens::parse("").unwrap())), webhook(3), Rule::Anonymous]);
        let (mut inquiry, step) = begin(&rules, &question());
        assert!(matches!(&step, Step::Ask { service: ServiceId(3), .. }), "{step:?}");
        let mut keys = jwt::Fetched::default();
        let mut now = Now { wall: 5, keys: &mut keys };
        let step = inquiry.answer(&rules, &question(), &reply(200, "{\"allow\":false}"), &mut now);
        assert_eq!(kind(&step), "refused");
        let step = inquiry.answer(&rules, &question(), &Err("gone".to_owned()), &mut now);
        assert_eq!(kind(&step), "unavailable", "and not the next rule's turn");
    }

    #[test]
    fn nothing_shows_a_token() {
        let mut asked = Question { token: Token::Text("SECRET".to_owned()), ..question() };
        asked.command = vec!["--password=SECRET".to_owned()];
        assert!(!format!("{asked:?} {:?}", asked.token).contains("SECRET"));
        for text in [no_rule(&asked), Step::Decided(Verdict::Refused(not_granted(&asked)))] {
            assert!(!format!("{text:?}").contains("SECRET"), "{text:?}");
        }
    }
}
