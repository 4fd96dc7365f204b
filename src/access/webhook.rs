//! `webhook=URL`: a service of the operator's decides. The question is one POST of JSON:
//!
//! ```json
//! {"token": "…", "action": "enter", "app": "shop", "proc": "web", "instance": "", "container": "",
//!  "command": [], "address": "192.0.2.7"}
//! ```
//! `action` is `enter`, `attach`, `exec` or `watch`. The answer is JSON with status 200: `{"allow": true, "user": "ada"}`, or
//! `{"allow": false, "reason": "…"}`. What it may say beside, see [`AnswerText`]; a field that is not known here would
//! narrow in vain, so it makes the answer unreadable, and that lets nobody in.

use super::{
    Answer, Asked, Grant, Move, Question, Recheck, Stage, Token, UnixSeconds, Verdict, good, one_line,
};
use super::{grants, tokens};
use crate::locate::Target;
use serde::{Deserialize, Serialize};

/// The rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    pub(super) service: Asked,
}

#[derive(Serialize)]
struct QuestionText<'a> {
    token: &'a str,
    action: &'a str,
    app: &'a str,
    proc: &'a str,
    instance: &'a str,
    container: &'a str,
    command: &'a [String],
    address: String,
}

/// The service's answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerText {
    allow: bool,
    /// Who it is; needed with `allow`.
    #[serde(default)]
    user: String,
    /// Shown to the person who is refused.
    #[serde(default)]
    reason: String,
    /// When the rights end, in seconds since 1970.
    expires: Option<UnixSeconds>,
    /// This container is entered, by name or id, whatever was asked for.
    container: Option<String>,
    /// And it is on this engine.
    engine: Option<String>,
    /// The user in the container, whatever was asked for.
    run_as: Option<String>,
    /// The working directory, whatever was asked for.
    workdir: Option<String>,
    /// Only these: each is a list of arguments, in which `*` stands for anything; `[]` is a shell.
    commands: Option<Vec<Vec<String>>>,
    limits: Option<Limits>,
    /// The session must be recorded, or must not be.
    record: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    /// How long the session may last.
    seconds: Option<u64>,
}

impl Webhook {
    /// Asks this service.
    pub fn new(service: Asked) -> Webhook {
        Webhook { service }
    }

    pub(super) fn begin(&self, question: &Question) -> Move {
        let Token::Text(token) = &question.token else { return Move::NotMine };
        let (mut app, mut proc, mut instance, mut container) = ("", "", "", "");
        match &question.target {
            Target::App { app: a, proc: p, instance: i } => (app, proc, instance) = (a, p, i),
            Target::Container(name) => container = name,
        }
        let text = QuestionText {
            token,
            action: question.right.name(),
            app,
            proc,
            instance,
            container,
            command: &question.command,
            address: question.address.to_string(),
        };
        match serde_json::to_vec(&text) {
            Ok(body) => Move::Ask {
                service: self.service.id,
                request: self.service.service.post("", &[], &body),
                stage: Stage::Only,
            },
            Err(_) => Move::unavailable("The question to the access service cannot be written."),
        }
    }

    pub(super) fn answer(&self, question: &Question, reply: &Answer) -> Move {
        let answer: AnswerText = match good(reply, "It") {
            Ok(body) => match serde_json::from_slice(body) {
                Ok(answer) => answer,
                Err(_) => return Move::unavailable("Its answer cannot be read."),
            },
            Err(trouble) => return Move::unavailable(trouble),
        };
        if !answer.allow {
            let reason = one_line(&answer.reason);
            let text = if reason.is_empty() { "The access service says no.".to_owned() } else { reason };
            return Move::Decided(Verdict::Refused(text));
        }
        let plain = |text: &str| !text.is_empty() && !text.contains(char::is_control);
        let texts = [&answer.container, &answer.engine, &answer.run_as, &answer.workdir];
        if !plain(&answer.user)
            || answer.user.len() > tokens::USER_BYTES_MAX
            || !texts.into_iter().flatten().all(|text| plain(text))
            || (answer.engine.is_some() && answer.container.is_none())
        {
            return Move::unavailable("Its answer cannot be read.");
        }
        if let Some(commands) = &answer.commands
            && !commands.iter().any(|command| permits(command, &question.command))
        {
            let text = match question.command.first() {
                Some(_) => "This command is not among those that you may run here.",
                None => "You may run certain commands here, but no shell.",
            };
            return Move::Decided(Verdict::Refused(text.to_owned()));
        }
        let lasts = answer.limits.and_then(|limits| limits.seconds);
        Move::Decided(Verdict::Allowed(Box::new(Grant {
            expires: answer.expires,
            lasts_seconds: lasts.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
            recheck: Recheck::ByToken,
            container: answer.container,
            engine: answer.engine,
            run_as: answer.run_as,
            workdir: answer.workdir,
            record: answer.record,
            ..Grant::new(&answer.user)
        })))
    }
}

/// Each argument matches its pattern, and there are as many.
fn permits(patterns: &[String], command: &[String]) -> bool {
    patterns.len() == command.len()
        && patterns.iter().zip(command).all(|(pattern, argument)| grants::matches(pattern, argument))
}

#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm, reason = "what a test does not expect ends it")]
mod tests {
    use super::super::tests::{asked, question, reply};
    use super::super::{Right, one_line};
    use super::*;
    use serde_json::{Value, json};

    fn webhook() -> Webhook {
        Webhook::new(asked(2, "http://hook.example:81/may?x=1"))
    }

    fn answered(question: &Question, body: &Value) -> Verdict {
        decided(webhook().answer(question, &reply(200, &body.to_string())))
    }

    fn decided(next: Move) -> Verdict {
        match next {
            Move::Decided(verdict) => verdict,
            Move::NotMine | Move::Ask { .. } => panic!("it is not decided"),
        }
    }

    #[test]
    fn the_question_is_as_it_is_documented() {
        let asked = Question {
            token: Token::Text("t\"1".to_owned()),
            right: Right::Exec,
            command: ["ls", "-l"].map(str::to_owned).to_vec(),
            ..question()
        };
        let Move::Ask { service: crate::service::ServiceId(2), request, .. } = webhook().begin(&asked) else {
            panic!()
        };
        let text = String::from_utf8(request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /may?x=1 HTTP/1.1\r\nHost: hook.example:81\r\n"), "{head}");
        let expected = json!({
            "token": "t\"1", "action": "exec", "app": "shop", "proc": "web", "instance": "", "container": "",
            "command": ["ls", "-l"], "address": "192.0.2.7",
        });
        assert_eq!(serde_json::from_str::<Value>(body).unwrap(), expected);

        let asked = Question { target: Target::Container("db".to_owned()), ..question() };
        let Move::Ask { request, .. } = webhook().begin(&asked) else { panic!() };
        assert!(
            String::from_utf8(request)
                .unwrap()
                .contains(r#""app":"","proc":"","instance":"","container":"db""#)
        );
    }

    #[test]
    fn it_allows_refuses_and_narrows() {
        match answered(&question(), &json!({"allow": true, "user": "ada"})) {
            Verdict::Allowed(grant) => assert_eq!((grant.user.as_str(), grant.expires), ("ada", None)),
            other => panic!("{other:?}"),
        }
        let narrowed = json!({
            "allow": true, "user": "ada", "container": "db-1", "engine": "east", "run_as": "nobody",
            "workdir": "/srv", "expires": 5000, "limits": {"seconds": 60},
        });
        match answered(&question(), &narrowed) {
            Verdict::Allowed(grant) => {
                let texts = [grant.container, grant.engine, grant.run_as, grant.workdir];
                assert_eq!(texts, ["db-1", "east", "nobody", "/srv"].map(|text| Some(text.to_owned())));
                assert_eq!((grant.expires, grant.lasts_seconds), (Some(5000), Some(60)));
                assert_eq!(grant.recheck, Recheck::ByToken);
            }
            other => panic!("{other:?}"),
        }
        for record in [None, Some(true), Some(false)] {
            match answered(&question(), &json!({"allow": true, "user": "ada", "record": record})) {
                Verdict::Allowed(grant) => assert_eq!(grant.record, record),
                other => panic!("{other:?}"),
            }
        }
        let table = [
            (json!({"allow": false}), "The access service says no."),
            (json!({"allow": false, "reason": "Ask\n\u{1b}[31m Bob."}), "Ask  [31m Bob."),
            (json!({"allow": true, "user": "ada", "commands": [["ls"]]}), "no shell"),
        ];
        for (body, words) in table {
            match answered(&question(), &body) {
                Verdict::Refused(text) => assert!(text.contains(words), "{text}"),
                other => panic!("{body}: {other:?}"),
            }
        }
        assert_eq!(one_line(&"x".repeat(500)).len(), 200);
    }

    #[test]
    fn commands_are_matched_argument_by_argument() {
        let body =
            json!({"allow": true, "user": "a", "commands": [["ls", "-*"], ["tail", "-f", "/log/*"], ["id"]]});
        let table: [(&[&str], bool); 8] = [
            (&["ls", "-l"], true),
            (&["ls"], false),
            (&["ls", "-l", "/etc"], false),
            (&["tail", "-f", "/log/a b"], true),
            (&["tail", "-f", "/etc/shadow"], false),
            (&["id"], true),
            (&["id; sh"], false),
            (&[], false),
        ];
        for (command, allowed) in table {
            let command = command.iter().map(|word| (*word).to_owned()).collect();
            let verdict = answered(&Question { command, ..question() }, &body);
            assert_eq!(matches!(verdict, Verdict::Allowed(_)), allowed, "{verdict:?}");
        }
        let shell = json!({"allow": true, "user": "a", "commands": [[]]});
        assert!(matches!(answered(&question(), &shell), Verdict::Allowed(_)));
    }

    #[test]
    fn rubbish_lets_nobody_in() {
        let bodies = [
            "",
            "null",
            "true",
            "[]",
            "{}",
            "<html>",
            "{\"allow\":1}",
            "{\"allow\":\"true\"}",
            "{\"allow\":null}",
            "{\"allow\":true}",
            "{\"allow\":true,\"user\":\"\"}",
            "{\"allow\":true,\"user\":\"a\\u0007\"}",
            "{\"allow\":true,\"user\":\"a\",\"only_on_sundays\":true}",
            "{\"allow\":true,\"user\":\"a\",\"limits\":{\"bytes\":1}}",
            "{\"allow\":true,\"user\":\"a\",\"engine\":\"east\"}",
            "{\"allow\":true,\"user\":\"a\",\"run_as\":\"\"}",
            "{\"allow\":false,\"allow\":true,\"user\":\"a\"}",
            "{\"allow\":true,\"user\":\"a\"} trailing",
        ];
        for body in bodies {
            let verdict = decided(webhook().answer(&question(), &reply(200, body)));
            assert!(matches!(verdict, Verdict::Unavailable(_)), "{body}: {verdict:?}");
        }
        let good = "{\"allow\":true,\"user\":\"a\"}";
        for status in [201, 204, 301, 401, 403, 404, 500, 503] {
            let verdict = decided(webhook().answer(&question(), &reply(status, good)));
            assert!(matches!(verdict, Verdict::Unavailable(_)), "{status}: {verdict:?}");
        }
        let verdict = decided(webhook().answer(&question(), &Err("it took too long".to_owned())));
        assert_eq!(verdict, Verdict::Unavailable("It does not answer: it took too long.".to_owned()));
    }

    #[test]
    fn a_kept_hash_is_no_token_to_ask_with() {
        let kept = Question { token: Token::Hash([0; 32]), ..question() };
        assert!(matches!(webhook().begin(&kept), Move::NotMine));
    }
}
