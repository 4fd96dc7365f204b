//! `GET /api/targets`: what somebody may enter, for a page that lets him choose.
//!
//! The rules are asked once, for all of it: only those that know by themselves can say (`anonymous`, `tokens`, `jwt`).
//! Then comes what runs, as it was last listed, or as the engines list it now; and of that only what the rules permit.
//! Whoever gets no list is told why, and types what he wants, as anybody may.

use super::{Call, CallError, Context, Effect, Lane, Millis, Session, State};
use crate::access::{
    Answer, Grant, Inquiry, Now, Permission, Question, Right, Scope, Step, Token, Verdict, grants,
};
use crate::config::{self, ContainerRule};
use crate::locate::Target;
use crate::locate::census::{self, Freshness, Known};
use crate::service::Peer;
use crate::wire::http::{Reply, write_content};
use core::net::IpAddr;
use serde::Serialize;

/// A list is being made.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) deadline: Millis,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Asking(Box<Question>, Inquiry),
    /// The engines that have not answered.
    Waiting {
        scope: Box<Scope>,
        known: Vec<Known>,
        open: Vec<u16>,
        is_cut: bool,
    },
}

/// What is answered.
#[derive(Serialize)]
struct List<'a> {
    targets: Vec<Row<'a>>,
    /// There is more than this list may have, or an engine has not answered.
    cut: bool,
    /// Why there is no list.
    #[serde(skip_serializing_if = "str::is_empty")]
    why: &'a str,
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    app: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    proc: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    instance: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    container: &'a str,
    rights: Vec<&'static str>,
}

/// What may be done in what runs, in the words of rules; nothing where there is no such right.
fn rights(scope: &Scope, target: &Target) -> Vec<&'static str> {
    let granted = |right: &Right| match (scope, target) {
        (Scope::All, _) => true,
        (Scope::Of(grants), target) => match (grants.permission(*right, target), target) {
            (Permission::Granted, _) => true,
            (Permission::IfNamed(names), Target::Container(name)) => {
                names.iter().any(|pattern| grants::matches(pattern, name))
            }
            (Permission::IfNamed(_), Target::App { .. }) | (Permission::None, _) => false,
        },
    };
    [Right::Enter, Right::Attach, Right::Exec]
        .iter()
        .filter(|right| granted(right))
        .map(|right| right.name())
        .collect()
}

/// What of it somebody is told: by its place where he may go there, else by its name where that is permitted.
fn row<'a>(scope: &Scope, allowed: &ContainerRule, known: &'a Known) -> Option<Row<'a>> {
    if let Some((app, proc, instance)) = &known.place {
        let target = Target::App { app: app.clone(), proc: proc.clone(), instance: instance.clone() };
        let rights = rights(scope, &target);
        if !rights.is_empty() {
            return Some(Row { app, proc, instance, container: "", rights });
        }
    }
    if !allowed.permits(&known.name) {
        return None;
    }
    let rights = rights(scope, &Target::Container(known.name.clone()));
    (!rights.is_empty()).then_some(Row { app: "", proc: "", instance: "", container: &known.name, rights })
}

impl Session {
    pub(super) fn begin_listing(&mut self, cx: &mut Context<'_>, token: String, address: IpAddr) {
        let question = Question {
            token: Token::Text(token),
            right: Right::List,
            target: Target::App { app: String::new(), proc: String::new(), instance: String::new() },
            command: Vec::new(),
            address,
        };
        let (inquiry, step) = cx.rules.begin(&question, &mut Now { wall: cx.wall, keys: cx.keys });
        let deadline = cx.now + config::SEARCH_MILLISECONDS_MAX;
        self.state =
            State::Listing(Box::new(Listing { deadline, stage: Stage::Asking(Box::new(question), inquiry) }));
        self.listing_step(cx, step);
    }

    /// A service has answered who somebody is, or an engine what runs there.
    pub(super) fn listing_reply(
        &mut self,
        cx: &mut Context<'_>,
        call: Call,
        reply: Result<Reply, CallError>,
    ) {
        let State::Listing(state) = &mut self.state else { return };
        match (&mut state.stage, call) {
            (Stage::Asking(question, inquiry), Call::Access) => {
                let answer: Answer = reply.map_err(|CallError(trouble)| trouble);
                let mut now = Now { wall: cx.wall, keys: cx.keys };
                let step = inquiry.answer(cx.rules, question, &answer, &mut now);
                self.listing_step(cx, step);
            }
            (Stage::Waiting { known, open, is_cut, .. }, Call::Locate { question }) => {
                open.retain(|number| *number != question);
                let read = match (reply, cx.settings.locator.schemes()) {
                    (Ok(reply), Some(schemes)) => census::read(schemes, &reply).ok(),
                    (Ok(_), None) | (Err(_), _) => None,
                };
                match read {
                    Some(mut read) => known.append(&mut read),
                    None => *is_cut = true,
                }
                if open.is_empty() {
                    self.listed(cx);
                }
            }
            (Stage::Asking(..) | Stage::Waiting { .. }, _) => {}
        }
    }

    fn listing_step(&mut self, cx: &mut Context<'_>, step: Step) {
        match step {
            Step::Ask { service, request } => {
                let peer = Peer::Service(service);
                cx.effects.push(Effect::Call { peer, call: Call::Access, request });
            }
            Step::Decided(Verdict::Allowed(grant)) => self.list_for(cx, *grant),
            Step::Decided(Verdict::Refused(why) | Verdict::Unavailable(why)) => self.answer_nothing(cx, &why),
        }
    }

    fn list_for(&mut self, cx: &mut Context<'_>, grant: Grant) {
        let has_expired = grant.expires.is_some_and(|expires| cx.wall >= expires);
        let Some(scope) = grant.scope.filter(|_| !has_expired) else {
            return self.answer_nothing(cx, "Your access has expired.");
        };
        if cx.settings.locator.schemes().is_none() {
            let why = "What runs is not known here before it is asked for; type what you want.";
            return self.answer_nothing(cx, why);
        }
        match cx.census.freshness(cx.now) {
            Freshness::Fresh => return self.answer_list(cx, &scope),
            Freshness::Busy => return self.answer_nothing(cx, "The list is just being made; ask again."),
            Freshness::Old => cx.census.begin(cx.now),
        }
        let mut configured = cx.engines.configured();
        let asked: Vec<_> = configured.by_ref().take(census::ASKED_MAX).collect();
        let is_cut = configured.next().is_some();
        let mut open = Vec::new();
        for (number, engine) in (0..).zip(asked) {
            open.push(number);
            let call = Call::Locate { question: number };
            cx.effects.push(Effect::Call { peer: Peer::Engine(engine), call, request: census::question() });
        }
        let State::Listing(state) = &mut self.state else { return };
        state.stage = Stage::Waiting { scope: Box::new(scope), known: Vec::new(), open, is_cut };
    }

    /// All engines have answered, or there is no more time.
    fn listed(&mut self, cx: &mut Context<'_>) {
        let State::Listing(state) = std::mem::replace(&mut self.state, State::Gone) else { return };
        match state.stage {
            Stage::Waiting { scope, known, open, is_cut } => {
                cx.census.take(cx.now, known, is_cut || !open.is_empty());
                self.answer_list(cx, &scope);
            }
            Stage::Asking(..) => self.answer_nothing(cx, "The access service takes too long."),
        }
    }

    fn answer_list(&mut self, cx: &mut Context<'_>, scope: &Scope) {
        let (mut targets, mut cut) = (Vec::new(), cx.census.is_cut());
        let rows =
            cx.census.known().iter().filter_map(|known| row(scope, &cx.settings.allow_container, known));
        for row in rows {
            if targets.len() >= config::TARGETS_LISTED_MAX {
                cut = true;
                break;
            }
            targets.push(row);
        }
        let list = List { targets, cut, why: "" };
        write_list(cx.to_client, &list);
        self.linger(cx);
    }

    fn answer_nothing(&mut self, cx: &mut Context<'_>, why: &str) {
        write_list(cx.to_client, &List { targets: Vec::new(), cut: true, why });
        self.linger(cx);
    }

    pub(super) fn listing_timed_out(&mut self, cx: &mut Context<'_>) {
        self.listed(cx);
    }
}

fn write_list(lane: &mut Lane, list: &List<'_>) {
    // A list of texts can be written.
    let text = serde_json::to_string(list).unwrap_or_default();
    write_content(&mut lane.bytes, 200, &[("Cache-Control", "no-store")], "application/json", &text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Grants;

    fn known(place: Option<[&str; 3]>, name: &str) -> Known {
        Known { place: place.map(|parts| parts.map(str::to_owned).into()), name: name.to_owned() }
    }

    #[test]
    fn nobody_is_told_of_what_he_may_not_enter() {
        let mut grants = Grants::default();
        for (right, pattern) in [
            (Right::Enter, "shop/web"),
            (Right::Attach, "shop/*"),
            (Right::Exec, "container:db"),
            (Right::Watch, "*/*"),
        ] {
            grants.add(right, pattern).unwrap();
        }
        let all = [
            known(Some(["blog", "web", "1"]), "blog-web-1"),
            known(Some(["shop", "api", ""]), "shop-api"),
            known(Some(["shop", "web", "2"]), "shop-web-2"),
            known(None, "db"),
            known(None, "db2"),
            known(Some(["ops", "db", "1"]), "db"),
        ];
        let told = |scope: &Scope, patterns: &[&str]| -> Vec<String> {
            let allowed = ContainerRule::new(patterns.iter().map(|text| (*text).to_owned()).collect());
            let rows = all.iter().filter_map(|known| row(scope, &allowed, known));
            rows.map(|row| serde_json::to_string(&row).unwrap()).collect()
        };
        let scope = Scope::Of(grants);
        assert_eq!(
            told(&scope, &["*"]),
            [
                r#"{"app":"shop","proc":"api","rights":["attach"]}"#,
                r#"{"app":"shop","proc":"web","instance":"2","rights":["enter","attach"]}"#,
                r#"{"container":"db","rights":["exec"]}"#,
                r#"{"container":"db","rights":["exec"]}"#,
            ]
        );
        assert_eq!(told(&scope, &[]).len(), 2, "by name nothing may be entered here");
        assert!(told(&Scope::Of(Grants::default()), &["*"]).is_empty());
        assert_eq!(told(&Scope::All, &["db*"]).len(), 6);
        assert_eq!(told(&Scope::All, &[]).len(), 4);
    }
}
