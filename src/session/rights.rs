//! Who may enter, and who may stay: the question to the rules before anything else is done, and the same question again
//! under an open session.
//!
//! ```text
//! begin_opening ──▶ Asking ──▶ locate …            Streaming ──(PING, rules changed)──▶ still allowed?
//!                     │                                             │
//!                     └── refused, unavailable ──▶ end ◀── access ended
//! ```
//! Rights are looked at with each PING, so they end at most so much later than they should; no other clock runs for
//! them.

use super::opening::Stage;
use super::{Call, CallError, Context, Effect, Event, Millis, Recorded, Session, State};
use crate::access::{
    Answer, Grant, Inquiry, Now, Question, Recheck, Right, Step, Token, UnixSeconds, User, Verdict, tokens,
};
use crate::locate::Target;
use crate::outcome::{Action, Outcome};
use crate::service::Peer;
use crate::wire::http::Reply;
use crate::wire::message::Hello;
use core::net::IpAddr;

/// Who is in the session, and for how long.
#[derive(Debug)]
pub(super) struct Rights {
    user: User,
    /// [`UnixSeconds::MAX`] where they have no end.
    expires: UnixSeconds,
    /// Only where there is something in it.
    terms: Option<Box<Terms>>,
}

/// What rights are tied to.
#[derive(Debug)]
struct Terms {
    /// How long the session may last by them.
    lasts_seconds: Option<u32>,
    /// What is asked again; none where there is nothing to ask.
    again: Option<Again>,
}

#[derive(Debug)]
struct Again {
    question: Question,
    at: Millis,
    /// It is being asked.
    inquiry: Option<Inquiry>,
    /// Since when nobody could say.
    unanswered_since: Option<Millis>,
}

impl Rights {
    pub(super) fn new(cx: &Context<'_>, grant: &Grant, question: Question) -> Rights {
        let interval = cx.settings.recheck_milliseconds;
        let token = match (grant.recheck, question.token, interval) {
            // Nobody keeps a token who does not need it.
            (Recheck::ByHash, Token::Text(text), _) => Some(Token::Hash(tokens::hash(&text))),
            (Recheck::ByHash, hash @ Token::Hash(_), _) => Some(hash),
            (Recheck::ByToken, token, Some(_)) => Some(token),
            (Recheck::ByToken, _, None) | (Recheck::Never, _, _) => None,
        };
        let again = token.map(|token| {
            let at = interval.map_or(Millis::MAX, |interval| cx.now + interval);
            let question = Question { token, ..question };
            Again { question, at, inquiry: None, unanswered_since: None }
        });
        let lasts_seconds = grant.lasts_seconds;
        let tied = lasts_seconds.is_some() || again.is_some();
        Rights {
            user: grant.user.as_str().into(),
            expires: grant.expires.unwrap_or(UnixSeconds::MAX),
            terms: tied.then(|| Box::new(Terms { lasts_seconds, again })),
        }
    }

    #[inline]
    fn again(&mut self) -> Option<&mut Again> {
        self.terms.as_mut()?.again.as_mut()
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }
}

impl Session {
    /// Who is in it, as the access rules named them; empty before they have.
    pub fn user(&self) -> &str {
        self.rights().map_or("", |rights| &rights.user)
    }

    /// How long it may last by the rights of who is in it, in seconds.
    pub(super) fn granted_seconds(&self) -> Option<u32> {
        self.rights()?.terms.as_ref()?.lasts_seconds
    }

    /// Where the client is, once it is let in: behind trusted proxies, what those say.
    pub fn client_address(&self) -> Option<IpAddr> {
        match &self.state {
            State::Opening(state) => state.rights.as_ref().map(|_| state.address),
            State::Streaming(state) => Some(state.stay.address),
            State::Settling(state) => Some(state.stay.address),
            State::Watching(state) => state.rights().map(|_| state.address),
            State::Upgrading(_)
            | State::Greeting(_)
            | State::Closing(_)
            | State::Listing(_)
            | State::Guarding(_)
            | State::Gone => None,
        }
    }

    #[inline]
    fn rights(&self) -> Option<&Rights> {
        match &self.state {
            State::Opening(state) => state.rights.as_ref(),
            State::Streaming(state) => Some(&state.stay.rights),
            State::Settling(state) => Some(&state.stay.rights),
            State::Watching(state) => state.rights(),
            State::Upgrading(_)
            | State::Greeting(_)
            | State::Closing(_)
            | State::Listing(_)
            | State::Guarding(_)
            | State::Gone => None,
        }
    }

    /// The rights by which somebody is in, which are looked at again; those of an open session.
    #[inline]
    fn lasting_rights(&mut self) -> Option<&mut Rights> {
        match &mut self.state {
            State::Streaming(state) => Some(&mut state.stay.rights),
            State::Watching(state) => state.rights_mut(),
            State::Upgrading(_)
            | State::Greeting(_)
            | State::Opening(_)
            | State::Settling(_)
            | State::Closing(_)
            | State::Listing(_)
            | State::Guarding(_)
            | State::Gone => None,
        }
    }

    /// Asks who may enter.
    pub(super) fn ask_access(&mut self, cx: &mut Context<'_>) {
        let State::Opening(state) = &mut self.state else { return };
        let Some(question) = &state.question else { return };
        let (inquiry, step) = cx.rules.begin(question, &mut Now { wall: cx.wall, keys: cx.keys });
        self.access_step(cx, inquiry, step);
    }

    /// A service has answered who may enter, or could not be asked.
    pub(super) fn access_answered(&mut self, cx: &mut Context<'_>, reply: Result<Reply, CallError>) {
        let State::Opening(state) = &mut self.state else { return };
        let (Stage::Asking(inquiry), Some(question)) = (&mut state.stage, &state.question) else { return };
        let answer: Answer = reply.map_err(|CallError(trouble)| trouble);
        let mut inquiry = *inquiry;
        let step = inquiry.answer(cx.rules, question, &answer, &mut Now { wall: cx.wall, keys: cx.keys });
        self.access_step(cx, inquiry, step);
    }

    fn access_step(&mut self, cx: &mut Context<'_>, inquiry: Inquiry, step: Step) {
        let State::Opening(state) = &mut self.state else { return };
        match step {
            Step::Ask { service, request } => {
                state.stage = Stage::Asking(inquiry);
                let peer = Peer::Service(service);
                cx.effects.push(Effect::Call { peer, call: Call::Access, request });
            }
            Step::Decided(Verdict::Allowed(grant)) => self.admit(cx, *grant),
            Step::Decided(Verdict::Refused(detail)) => self.end(cx, Outcome::Refused { detail }),
            Step::Decided(Verdict::Unavailable(detail)) => {
                self.end(cx, Outcome::AccessUnavailable { detail });
            }
        }
    }

    /// Somebody is let in, perhaps to less than was asked for.
    fn admit(&mut self, cx: &mut Context<'_>, grant: Grant) {
        let State::Opening(state) = &mut self.state else { return };
        let Some(question) = state.question.take() else { return };
        if grant.expires.is_some_and(|expires| cx.wall >= expires) || grant.lasts_seconds == Some(0) {
            let detail = "Your access has expired.".to_owned();
            return self.end(cx, Outcome::Refused { detail });
        }
        if let Err(full) = cx.crowd.name(cx.place, &grant.user) {
            return self.end(cx, Outcome::OverLimit { detail: full.to_string() });
        }
        let recorded = match recorded(cx, question.right, grant.record) {
            Ok(recorded) => recorded,
            Err(outcome) => return self.end(cx, outcome),
        };
        let rights = Rights::new(cx, &grant, question);
        let (user, address) = (rights.user.to_string(), state.address);
        cx.effects.push(Effect::Tell(Event::Admitted { user, address, recorded }));
        state.recorded = recorded;
        state.rights = Some(rights);
        state.admitted_at = cx.now;
        state.granted_names = grant.names;
        state.hello.user = grant.run_as.unwrap_or(std::mem::take(&mut state.hello.user));
        state.hello.workdir = grant.workdir.unwrap_or(std::mem::take(&mut state.hello.workdir));
        let Some(container) = grant.container else { return self.locate(cx) };
        state.target_is_granted = true;
        state.target = Target::Container(container.clone());
        match grant.engine.map(|name| cx.engines.named(&name)) {
            None => self.locate(cx),
            Some(Some(engine)) => {
                state.container = container;
                self.connect_engine(cx, engine);
            }
            Some(None) => {
                let detail = "It names an engine that is not known here.".to_owned();
                self.end(cx, Outcome::AccessUnavailable { detail });
            }
        }
    }

    /// The rules are others than before: those who are in by a file must still stand in it.
    pub fn rules_changed(&mut self, cx: &mut Context<'_>) {
        if let Some(again) = self.lasting_rights().and_then(Rights::again)
            && matches!(again.question.token, Token::Hash(_))
        {
            again.at = cx.now;
            self.check_rights(cx);
        }
    }

    /// Rights have an end, and may have been taken away.
    #[inline]
    pub(super) fn check_rights(&mut self, cx: &mut Context<'_>) {
        if self.rights().is_some_and(|rights| cx.wall >= rights.expires) {
            let detail = "its time is over.".to_owned();
            return self.end(cx, Outcome::AccessEnded { detail });
        }
        let again = self.lasting_rights().and_then(Rights::again);
        let Some(again) = again.filter(|again| cx.now >= again.at && again.inquiry.is_none()) else { return };
        let (inquiry, step) = cx.rules.begin(&again.question, &mut Now { wall: cx.wall, keys: cx.keys });
        self.recheck_step(cx, inquiry, step);
    }

    /// A service has answered whether somebody may stay, or could not be asked.
    pub(super) fn recheck_answered(&mut self, cx: &mut Context<'_>, reply: Result<Reply, CallError>) {
        let Some(again) = self.lasting_rights().and_then(Rights::again) else { return };
        let Some(mut inquiry) = again.inquiry.take() else { return };
        let answer: Answer = reply.map_err(|CallError(trouble)| trouble);
        let mut now = Now { wall: cx.wall, keys: cx.keys };
        let step = inquiry.answer(cx.rules, &again.question, &answer, &mut now);
        self.recheck_step(cx, inquiry, step);
    }

    fn recheck_step(&mut self, cx: &mut Context<'_>, inquiry: Inquiry, step: Step) {
        let Some(Rights { user, expires, terms: Some(terms) }) = self.lasting_rights() else { return };
        let Terms { lasts_seconds, again: Some(again) } = &mut **terms else { return };
        let interval = cx.settings.recheck_milliseconds;
        let ended = match step {
            Step::Ask { service, request } => {
                again.inquiry = Some(inquiry);
                let peer = Peer::Service(service);
                return cx.effects.push(Effect::Call { peer, call: Call::Access, request });
            }
            Step::Decided(Verdict::Allowed(grant)) if *grant.user == **user => {
                *expires = grant.expires.unwrap_or(UnixSeconds::MAX);
                // From its beginning on: asking again does not prolong it.
                *lasts_seconds = [*lasts_seconds, grant.lasts_seconds].into_iter().flatten().min();
                again.at = interval.map_or(Millis::MAX, |interval| cx.now + interval);
                again.unanswered_since = None;
                return;
            }
            Step::Decided(Verdict::Allowed(_)) => "the token is somebody else's now.".to_owned(),
            Step::Decided(Verdict::Refused(detail)) => detail,
            Step::Decided(Verdict::Unavailable(detail)) => {
                let interval = interval.unwrap_or(0);
                let since = *again.unanswered_since.get_or_insert(cx.now);
                if cx.now - since < interval {
                    // With the next PING.
                    again.at = cx.now;
                    return;
                }
                format!("nobody could say any more whether it lasts. {detail}")
            }
        };
        self.end(cx, Outcome::AccessEnded { detail: ended });
    }
}

/// Whether a session is written down: as the access rules say; where they say nothing, whatever people are shown in a
/// shell or by a command is, and what a container says by itself is not.
fn recorded(cx: &Context<'_>, right: Right, wanted: Option<bool>) -> Result<Recorded, Outcome> {
    match (wanted, &cx.settings.record) {
        (Some(true), None) => {
            let detail = "This session would have to be recorded, and this gateway does not record; ask its operator \
                          for --record.";
            Err(Outcome::Refused { detail: detail.to_owned() })
        }
        (Some(true), Some(_)) if !cx.crowd.can_record() => {
            let detail = "This session would have to be recorded, and recordings cannot be written now; try again \
                          later, and tell the operator.";
            Err(Outcome::OverLimit { detail: detail.to_owned() })
        }
        (Some(true), Some(_)) => Ok(Recorded::Must),
        (None, Some(_)) if right != Right::Attach => Ok(Recorded::Wanted),
        (Some(false) | None, _) => Ok(Recorded::No),
    }
}

/// What is asked before anything is done for a client.
pub(super) fn question(action: Action, hello: &mut Hello, target: &Target, address: IpAddr) -> Question {
    let right = match action {
        Action::Attach => Right::Attach,
        Action::Watch => Right::Watch,
        Action::Enter if hello.command.is_empty() => Right::Enter,
        Action::Enter => Right::Exec,
    };
    Question {
        token: Token::Text(std::mem::take(&mut hello.access_token)),
        right,
        target: target.clone(),
        command: hello.command.clone(),
        address,
    }
}
