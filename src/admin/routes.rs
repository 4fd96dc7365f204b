//! A request → an answer, and who may ask at all.
//!
//! `/livez` and `/readyz` are for machines that carry no secrets. For everything else the token is asked, where there is
//! one. Where there is none, whoever is on this machine may ask, but for web pages: no request that says where it
//! comes from (Origin), and none that names another host than this one, as a page could that has given itself this
//! machine's address (DNS rebinding).

use super::{figures, sessions};
use crate::access::tokens::{self, TokenHash};
use crate::gateway::Insight;
use crate::wire::http::{RequestHead, names_loopback, write_content, write_response};
use std::sync::{Arc, PoisonError, RwLock};
use subtle::ConstantTimeEq as _;

/// The text format of Prometheus.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";
const JSON_TYPE: &str = "application/json";

/// Who answers, and by what.
#[derive(Debug)]
pub(super) struct Office {
    pub(super) token: Arc<RwLock<Option<TokenHash>>>,
    /// What the gateway goes by, as JSON.
    pub(super) settings: String,
}

/// What is answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn text(status: u16, text: impl Into<String>) -> Answer {
        Answer { status, kind: TEXT_TYPE, body: text.into() }
    }

    pub(super) fn json(body: String) -> Answer {
        Answer { status: 200, kind: JSON_TYPE, body }
    }
}

/// What a path offers.
enum Place {
    Live,
    Ready,
    Metrics,
    Sessions,
    Session(String),
    Settings,
}

impl Office {
    pub(super) fn answer(&self, request: &RequestHead<'_>, insight: &Insight, out: &mut Vec<u8>) {
        let Some(place) = place(request.path()) else {
            let text =
                "Nothing is here. There are /metrics, /livez, /readyz, /api/sessions and /api/config.\n";
            return write_response(out, 404, &[], text);
        };
        let allowed = if matches!(place, Place::Session(_)) { "DELETE" } else { "GET, HEAD" };
        if !allowed.split(", ").any(|method| method == request.method) {
            return write_response(out, 405, &[("Allow", allowed)], &format!("Use {allowed}.\n"));
        }
        let is_open = matches!(place, Place::Live | Place::Ready);
        if let Some((headers, refusal)) = self.refusal(request, is_open) {
            return write_content(out, refusal.status, headers, refusal.kind, &refusal.body);
        }
        let Answer { status, kind, body } = match place {
            Place::Live => health("alive", &insight.ailments(), insight),
            Place::Ready => health("ready", &insight.hindrances(), insight),
            Place::Metrics => Answer { status: 200, kind: METRICS_TYPE, body: figures::told(insight) },
            Place::Sessions => sessions::list(request, insight),
            Place::Session(id) => sessions::end(&id, request, insight),
            Place::Settings => Answer::json(self.settings.clone()),
        };
        let headers: &[(&str, &str)] = &[("Cache-Control", "no-store")];
        let begin = out.len();
        write_content(out, status, headers, kind, &body);
        if request.method == "HEAD" {
            out.truncate(begin + (out.len() - begin - body.len()));
        }
    }

    fn refusal(
        &self,
        request: &RequestHead<'_>,
        is_open: bool,
    ) -> Option<(&'static [(&'static str, &'static str)], Answer)> {
        let wanted = *self.token.read().unwrap_or_else(PoisonError::into_inner);
        if request.headers.first("origin").is_some() {
            return Some((&[], Answer::text(403, "Web pages are not answered here.\n")));
        }
        match wanted {
            _ if is_open => None,
            None => {
                let is_here = request.headers.text("host").is_none_or(names_loopback);
                let text = "Without --admin-token-file only this machine is answered: ask by its loopback address, or \
                            as localhost.\n";
                (!is_here).then(|| (&[][..], Answer::text(421, text)))
            }
            Some(wanted) => {
                let brought = request.headers.text("authorization").and_then(|text| text.split_once(' '));
                let is_right = brought.is_some_and(|(scheme, token)| {
                    scheme.eq_ignore_ascii_case("bearer") && tokens::hash(token.trim()).ct_eq(&wanted).into()
                });
                let text = "Bring the token: Authorization: Bearer …\n";
                (!is_right).then(|| (&[("WWW-Authenticate", "Bearer")][..], Answer::text(401, text)))
            }
        }
    }
}

fn place(path: &str) -> Option<Place> {
    match path {
        "/livez" => Some(Place::Live),
        "/readyz" => Some(Place::Ready),
        "/metrics" => Some(Place::Metrics),
        "/api/sessions" => Some(Place::Sessions),
        "/api/config" => Some(Place::Settings),
        other => {
            let id = other.strip_prefix("/api/sessions/")?;
            Some(Place::Session(id.replace("%3A", ":").replace("%3a", ":")))
        }
    }
}

/// One line with the verdict, one for each reason, and one for each engine that is away, which is no reason: the
/// others' containers can be entered, and who asks for one of this engine's is told so by a sentence, which no balancer
/// could say.
fn health(good: &str, reasons: &[String], insight: &Insight) -> Answer {
    let mut body = if reasons.is_empty() { format!("{good}\n") } else { format!("not {good}\n") };
    for reason in reasons {
        body += &format!("- {reason}\n");
    }
    for (name, why) in insight.counters.engines_away() {
        body += &format!("(the engine {name} is away: {})\n", why.trim_end_matches('.'));
    }
    Answer::text(if reasons.is_empty() { 200 } else { 503 }, body)
}
