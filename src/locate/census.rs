//! Every target that runs, for people who choose from a list: what the configured engines' containers are called, by the
//! labels of the locator's first way that goes by them, and by their own names.
//!
//! A list costs an engine more than a search does, so it is kept for a moment, and not asked for again while one is
//! under way. What of it somebody is told, access decides.
//!
//! May not know: who asks, or how the questions reach the engines.

use super::lists::Schemes;
use crate::engine::reply::read_list;
use crate::engine::request;
use crate::wire::http::Reply;

/// How long a list is good for, in milliseconds.
pub const FRESH_MILLISECONDS: u64 = 5_000;
/// How long one that is under way keeps others from asking, in milliseconds.
pub const BUSY_MILLISECONDS: u64 = 1_000;
/// The most containers that are known at a time.
pub const KNOWN_MAX: usize = 10_000;
/// The most engines that are asked.
pub const ASKED_MAX: usize = 16;

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Known {
    /// App, proc and instance, where its labels name them; the instance is empty where it is the only one.
    pub place: Option<(String, String, String)>,
    /// Its own name.
    pub name: String,
}

/// What is known of what runs. It belongs to the driver, and outlasts those who ask.
#[derive(Debug, Default)]
pub struct Census {
    known: Vec<Known>,
    /// There is more than could be asked for or kept.
    is_cut: bool,
    taken: Option<u64>,
    tried: Option<u64>,
}

/// Whether there is a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// There is.
    Fresh,
    /// Somebody is just asking for it.
    Busy,
    /// It is to be asked for.
    Old,
}

impl Census {
    /// Whether there is a list, at this moment of the driver's clock.
    pub fn freshness(&self, now: u64) -> Freshness {
        let within = |since: Option<u64>, limit| since.is_some_and(|since| now.saturating_sub(since) < limit);
        if within(self.taken, FRESH_MILLISECONDS) {
            Freshness::Fresh
        } else if within(self.tried, BUSY_MILLISECONDS) {
            Freshness::Busy
        } else {
            Freshness::Old
        }
    }

    /// Somebody asks for the list now.
    pub fn begin(&mut self, now: u64) {
        self.tried = Some(now);
    }

    /// The list is this; what could not be asked for is missing in it.
    pub fn take(&mut self, now: u64, mut known: Vec<Known>, is_cut: bool) {
        known.sort_unstable();
        known.dedup();
        self.is_cut = is_cut || known.len() > KNOWN_MAX;
        known.truncate(KNOWN_MAX);
        known.shrink_to_fit();
        (self.known, self.taken) = (known, Some(now));
    }

    /// What runs, in order.
    pub fn known(&self) -> &[Known] {
        &self.known
    }

    /// There is more.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }
}

/// `GET /containers/json` without a version, since it is not known yet what the engine speaks: it takes its own then.
pub fn question() -> Vec<u8> {
    request::list_all_containers()
}

/// The containers of one engine's answer.
///
/// # Errors
/// The engine's refusal, in one sentence.
pub fn read(schemes: &Schemes, reply: &Reply) -> Result<Vec<Known>, String> {
    let listed = read_list(reply).map_err(|error| error.text)?;
    let known = listed.into_iter().map(|container| {
        let place = schemes.place_of(&container.labels);
        Known { place, name: container.name }
    });
    Ok(known.filter(|known| known.place.is_some() || !known.name.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixtures::json as reply;
    use serde_json::json;

    fn known(place: Option<[&str; 3]>, name: &str) -> Known {
        Known { place: place.map(|parts| parts.map(str::to_owned).into()), name: name.to_owned() }
    }

    #[test]
    fn what_an_engine_lists_is_known_by_its_labels_and_its_name() {
        let compose = |service: &str, number: &str| {
            json!({
                "com.docker.compose.project": "shop", "com.docker.compose.service": service,
                "com.docker.compose.container-number": number,
            })
        };
        let id = "c0ffee0000000000000000000000000000000000000000000000000000000000";
        let body = json!([
            {"Id": id, "Names": ["/shop-web-1"], "Labels": compose("web", "1")},
            {"Id": id, "Names": ["/db"], "Labels": {}},
            {"Id": id, "Names": null, "Labels": null},
        ]);
        let read = read(&Schemes::default(), &reply(200, &body.to_string())).unwrap();
        assert_eq!(read, [known(Some(["shop", "web", "1"]), "shop-web-1"), known(None, "db")]);
        for (status, body) in [(500, "{}"), (200, "{}"), (200, "[{}]")] {
            assert!(super::read(&Schemes::default(), &reply(status, body)).is_err(), "{body}");
        }
    }

    #[test]
    fn it_is_asked_for_once_in_a_while() {
        let mut census = Census::default();
        assert_eq!(census.freshness(7), Freshness::Old);
        census.begin(7);
        assert_eq!(census.freshness(8), Freshness::Busy);
        assert_eq!(census.freshness(7 + BUSY_MILLISECONDS), Freshness::Old, "who asked has had no answer");
        census.take(9, vec![known(None, "b"), known(None, "a"), known(None, "b")], false);
        assert_eq!((census.known(), census.is_cut()), (&[known(None, "a"), known(None, "b")][..], false));
        assert_eq!(census.freshness(8 + FRESH_MILLISECONDS), Freshness::Fresh);
        assert_eq!(census.freshness(9 + FRESH_MILLISECONDS), Freshness::Old);
    }

    #[test]
    fn it_is_bounded() {
        let mut census = Census::default();
        census.take(
            0,
            (0..KNOWN_MAX + 5).map(|number| known(None, &format!("{number:08}"))).collect(),
            false,
        );
        assert_eq!((census.known().len(), census.is_cut()), (KNOWN_MAX, true));
    }
}
