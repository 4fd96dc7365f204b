//! `lain`: LAIN's console says who may enter what. Three questions, one after another:
//!
//! 1. lainlet, `/v2/configwatcher?target=auth/console`: is there access control, and is it `lain-sso`?
//! 2. the console, `/api/v1/repos/<app>/roles/` with the token: which role has its owner in the app?
//! 3. the SSO, `/api/me` with the token: who is it?
//!
//! A role says nothing of watching others, so that is for another rule to grant.
//!
//! LAIN's own Entry let everybody in where the first answer had nothing to say. Here that takes the operator's word.

use super::{
    Answer, Asked, Grant, Move, Question, Recheck, Right, Stage, Token, Verdict, good, one_line, tokens,
};
use crate::locate::Target;
use crate::wire::http::percent_encode;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The one kind of access control that LAIN's console has.
const LAIN_SSO: &str = "lain-sso";
/// LAIN's own name for Entry, which is never entered: it holds the keys to all others.
const NEVER_ENTERED: &str = "entry";

/// The rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lain {
    /// Says whether there is access control.
    pub lainlet: Asked,
    /// Says who may do what.
    pub console: Asked,
    /// Says who it is; without it, sessions have no name.
    pub sso: Option<Asked>,
    /// Where lainlet knows of no access control, everybody is let in.
    pub without_auth_let_everybody_in: bool,
}

impl Lain {
    pub(super) fn begin(&self, question: &Question) -> Move {
        let Token::Text(token) = &question.token else { return Move::NotMine };
        if question.right == Right::Watch || (token.is_empty() && !self.without_auth_let_everybody_in) {
            return Move::NotMine;
        }
        match &question.target {
            Target::Container(_) => refuse("LAIN's console knows apps and no containers; name app and proc."),
            Target::App { app, .. } if app == NEVER_ENTERED => {
                refuse("The app entry is never entered: it holds the keys to all others.")
            }
            // It would be part of a path.
            Target::App { app, .. } if matches!(app.as_str(), "." | "..") => refuse("There is no such app."),
            Target::App { .. } => {
                let request = self.lainlet.service.get("/v2/configwatcher?target=auth/console", &[]);
                Move::Ask { service: self.lainlet.id, request, stage: Stage::Authority }
            }
        }
    }

    pub(super) fn answer(&self, question: &Question, stage: Stage, reply: &Answer) -> Move {
        let Token::Text(token) = &question.token else { return Move::NotMine };
        match stage {
            Stage::Authority => self.authority(question, token, reply),
            Stage::Role => self.role(token, reply),
            Stage::Identity => identity(reply),
            Stage::Only => Move::NotMine,
        }
    }

    fn authority(&self, question: &Question, token: &str, reply: &Answer) -> Move {
        #[derive(Deserialize)]
        struct Authority {
            r#type: String,
        }
        let config: Map<String, Value> = match read(reply, "lainlet") {
            Ok(config) => config,
            Err(trouble) => return Move::unavailable(trouble),
        };
        let kind = match config.get("auth/console") {
            None if self.without_auth_let_everybody_in => {
                return Move::Decided(Verdict::Allowed(Box::new(Grant::new(super::ANONYMOUS))));
            }
            None => {
                return refuse(
                    "LAIN's console has no access control (lainlet knows no auth/console), so nobody is let in.",
                );
            }
            Some(value) => value.as_str().and_then(|text| serde_json::from_str::<Authority>(text).ok()),
        };
        match (kind, &question.target) {
            (None, _) => Move::unavailable("What lainlet says of auth/console cannot be read."),
            (Some(Authority { r#type }), _) if r#type != LAIN_SSO => {
                refuse("The access control of LAIN's console is of a kind that is not known here.")
            }
            (Some(_), Target::App { app, .. }) if !token.is_empty() => {
                let path = format!("/api/v1/repos/{}/roles/", percent_encode(app));
                let request = self.console.service.get(&path, &[("access-token", token)]);
                Move::Ask { service: self.console.id, request, stage: Stage::Role }
            }
            (Some(_), _) => Move::NotMine,
        }
    }

    fn role(&self, token: &str, reply: &Answer) -> Move {
        #[derive(Deserialize)]
        struct Roles {
            role: Option<Role>,
        }
        #[derive(Deserialize)]
        struct Role {
            role: Option<String>,
        }
        // The console says no with a status of its own.
        if matches!(reply, Ok(reply) if matches!(reply.status(), 401 | 403 | 404)) {
            return no_role();
        }
        let roles: Roles = match read(reply, "LAIN's console") {
            Ok(roles) => roles,
            Err(trouble) => return Move::unavailable(trouble),
        };
        if roles.role.and_then(|role| role.role).is_none_or(|role| role.is_empty()) {
            return no_role();
        }
        let Some(sso) = &self.sso else {
            return Move::Decided(Verdict::Allowed(Box::new(Grant {
                recheck: Recheck::ByToken,
                ..Grant::new("somebody with a role")
            })));
        };
        let bearer = format!("Bearer {token}");
        let request = sso.service.get("/api/me", &[("Authorization", &bearer)]);
        Move::Ask { service: sso.id, request, stage: Stage::Identity }
    }
}

fn identity(reply: &Answer) -> Move {
    #[derive(Deserialize)]
    struct Me {
        email: String,
    }
    let me: Me = match read(reply, "LAIN's SSO") {
        Ok(me) => me,
        Err(trouble) => return Move::unavailable(trouble),
    };
    let email = one_line(&me.email);
    if email.is_empty() || email != me.email || email.len() > tokens::USER_BYTES_MAX {
        return Move::unavailable("Whom LAIN's SSO names cannot be read.");
    }
    Move::Decided(Verdict::Allowed(Box::new(Grant { recheck: Recheck::ByToken, ..Grant::new(&email) })))
}

fn read<'a, T: Deserialize<'a>>(reply: &'a Answer, who: &str) -> Result<T, String> {
    // A struct would be read out of an array too.
    let body = good(reply, who)?;
    let is_object = body.trim_ascii_start().starts_with(b"{");
    match serde_json::from_slice(body) {
        Ok(value) if is_object => Ok(value),
        Ok(_) | Err(_) => Err(format!("What {who} answers cannot be read.")),
    }
}

fn refuse(text: &str) -> Move {
    Move::Decided(Verdict::Refused(text.to_owned()))
}

fn no_role() -> Move {
    refuse(
        "You have no role in this app, or your token is not valid any more; sign in again, or ask its owner.",
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, question, reply};
    use super::*;

    fn lain() -> Lain {
        Lain {
            lainlet: asked(0, "http://lainlet.lain:9001"),
            console: asked(1, "http://console.lain.example"),
            sso: Some(asked(2, "http://sso.lain.example")),
            without_auth_let_everybody_in: false,
        }
    }

    fn with_token() -> Question {
        Question { token: Token::Text("tok".to_owned()), ..question() }
    }

    const AUTHORITY: &str =
        r#"{"auth/console": "{\"type\":\"lain-sso\",\"url\":\"https://sso.lain.example\"}"}"#;
    const ROLE: &str = r#"{"msg":"","url":"","role":{"role":"admin"}}"#;

    fn shown(next: Move) -> String {
        match next {
            Move::NotMine => "not mine".to_owned(),
            Move::Decided(Verdict::Allowed(grant)) => format!("allowed {}", grant.user),
            Move::Decided(Verdict::Refused(text)) => format!("refused {text}"),
            Move::Decided(Verdict::Unavailable(text)) => format!("unavailable {text}"),
            Move::Ask { service, request, .. } => {
                format!("{} {}", service.0, String::from_utf8(request).unwrap())
            }
        }
    }

    #[test]
    fn the_questions_are_those_of_lain() {
        let lain = lain();
        let text = shown(lain.begin(&with_token()));
        let line = "0 GET /v2/configwatcher?target=auth/console HTTP/1.1\r\nHost: lainlet.lain:9001\r\n";
        assert!(text.starts_with(line), "{text}");
        let text = shown(lain.answer(&with_token(), Stage::Authority, &reply(200, AUTHORITY)));
        assert!(
            text.starts_with("1 GET /api/v1/repos/shop/roles/ HTTP/1.1\r\nHost: console.lain.example\r\n"),
            "{text}"
        );
        assert!(text.contains("\r\naccess-token: tok\r\n"), "{text}");
        let text = shown(lain.answer(&with_token(), Stage::Role, &reply(200, ROLE)));
        assert!(text.starts_with("2 GET /api/me HTTP/1.1\r\nHost: sso.lain.example\r\n"), "{text}");
        assert!(text.contains("\r\nAuthorization: Bearer tok\r\n"), "{text}");
        let me = reply(200, r#"{"name":"ada","email":"ada@lain.example"}"#);
        assert_eq!(shown(lain.answer(&with_token(), Stage::Identity, &me)), "allowed ada@lain.example");

        let app = |app: &str| Question {
            target: Target::App { app: app.to_owned(), proc: "web".to_owned(), instance: String::new() },
            ..with_token()
        };
        let text = shown(lain.answer(&app("a/../b?c"), Stage::Authority, &reply(200, AUTHORITY)));
        assert!(text.contains("/repos/a%2F..%2Fb%3Fc/roles/"), "{text}");
        for never in ["entry", ".."] {
            assert!(shown(lain.begin(&app(never))).starts_with("refused"), "{never}");
        }
        let by_name = Question { target: Target::Container("web".to_owned()), ..with_token() };
        assert!(shown(lain.begin(&by_name)).starts_with("refused LAIN's console knows apps"));
    }

    #[test]
    fn what_each_answer_leads_to() {
        let table: [(Stage, u16, &str, &str); 20] = [
            (Stage::Authority, 200, "{}", "refused LAIN's console has no access control"),
            (
                Stage::Authority,
                200,
                r#"{"auth/console":"{\"type\":\"other\",\"url\":\"\"}"}"#,
                "refused The access",
            ),
            (Stage::Authority, 200, r#"{"auth/console":"rubbish"}"#, "unavailable"),
            (Stage::Authority, 200, r#"{"auth/console":{"type":"lain-sso"}}"#, "unavailable"),
            (Stage::Authority, 200, "rubbish", "unavailable"),
            (Stage::Authority, 200, "[]", "unavailable"),
            (Stage::Authority, 500, AUTHORITY, "unavailable lainlet answers with status 500."),
            (Stage::Role, 200, r#"{"role":{"role":""}}"#, "refused You have no role"),
            (Stage::Role, 200, r#"{"role":{}}"#, "refused You have no role"),
            (Stage::Role, 200, r#"{"role":null}"#, "refused You have no role"),
            (Stage::Role, 200, "{}", "refused You have no role"),
            (Stage::Role, 401, "", "refused You have no role"),
            (Stage::Role, 404, "<html>", "refused You have no role"),
            (Stage::Role, 500, ROLE, "unavailable LAIN's console answers with status 500."),
            (Stage::Role, 302, ROLE, "unavailable"),
            (Stage::Role, 200, r#"{"role":"admin"}"#, "unavailable"),
            (Stage::Role, 200, r#"[{"role":"admin"}]"#, "unavailable"),
            (Stage::Identity, 200, r#"{"name":"ada"}"#, "unavailable"),
            (Stage::Identity, 200, r#"{"email":"a\nb"}"#, "unavailable"),
            (Stage::Identity, 401, r#"{"email":"a@b"}"#, "unavailable LAIN's SSO answers with status 401."),
        ];
        for (stage, status, body, expected) in table {
            let text = shown(lain().answer(&with_token(), stage, &reply(status, body)));
            assert!(text.starts_with(expected), "{stage:?} {status} {body}: {text}");
        }
        for stage in [Stage::Authority, Stage::Role, Stage::Identity] {
            let text = shown(lain().answer(&with_token(), stage, &Err("it took too long".to_owned())));
            assert!(text.starts_with("unavailable") && text.contains("took too long"), "{text}");
        }
    }

    #[test]
    fn without_access_control_everybody_enters_only_by_the_operator_s_word() {
        let open = Lain { without_auth_let_everybody_in: true, ..lain() };
        assert_eq!(shown(open.answer(&question(), Stage::Authority, &reply(200, "{}"))), "allowed anonymous");
        // Where there is access control after all, no token is no answer.
        assert_eq!(shown(open.answer(&question(), Stage::Authority, &reply(200, AUTHORITY))), "not mine");
        assert_eq!(shown(lain().begin(&question())), "not mine");
        assert!(
            shown(open.answer(&question(), Stage::Authority, &reply(503, "{}"))).starts_with("unavailable")
        );
    }

    #[test]
    fn without_an_sso_the_role_is_enough() {
        let lain = Lain { sso: None, ..lain() };
        assert!(shown(lain.answer(&with_token(), Stage::Role, &reply(200, ROLE))).starts_with("allowed"));
    }
}
