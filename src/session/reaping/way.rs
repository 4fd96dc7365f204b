//! How the reaper comes to run, and what its status says. Scripts and numbers; knows nothing of when.

use super::super::SessionId;
use crate::config::ReapMode;
use crate::engine::{Dialect, ExecSpec, request};

/// Runs in the container, by the image's own sh.
const REAP_SCRIPT: &str = concat!(include_str!("scan.sh"), include_str!("reap.sh"));
/// Runs it in a container of its own.
const HELPER_SCRIPT: &str = include_str!("helper.sh");

/// As whom the reaper runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// As the session did.
    AsUser,
    /// As root with every capability.
    Privileged,
    /// As root with what the container's root has: engines that are confined themselves give no more.
    AsRoot,
    /// As root in a container beside it, where the operator names an image for that.
    Beside,
}

impl Way {
    /// What is tried where this is not enough.
    pub(super) fn next(self, has_helper: bool) -> Option<Way> {
        match self {
            Way::AsUser => Some(Way::Privileged),
            Way::Privileged => Some(Way::AsRoot),
            Way::AsRoot => has_helper.then_some(Way::Beside),
            Way::Beside => None,
        }
    }

    /// The request that creates the exec in this container, for a session of this user.
    pub(super) fn create(
        self,
        dialect: &Dialect,
        (container, user): (&str, Option<&str>),
        command: &[String],
    ) -> Vec<u8> {
        let spec = ExecSpec {
            command,
            user: match self {
                Way::AsUser => user,
                Way::Privileged | Way::AsRoot | Way::Beside => Some("0"),
            },
            // The container's own may be gone.
            workdir: Some("/"),
            privileged: self == Way::Privileged,
            ..ExecSpec::default()
        };
        request::create_exec(dialect, container, &spec)
    }
}

/// The reaper's command: how much it ends, how old the session is in seconds, and its mark.
pub(super) fn arguments(mode: ReapMode, age: u64, id: SessionId) -> Vec<String> {
    let words = ["sh", "-c", REAP_SCRIPT, "entry-reap", word(mode), &age.to_string(), &id.to_string()];
    words.map(str::to_owned).to_vec()
}

/// What the sh in a container beside it is given for the same.
pub(super) fn helper_arguments(mode: ReapMode, age: u64, id: SessionId) -> Vec<String> {
    let (age, id) = (age.to_string(), id.to_string());
    let words = ["-c", HELPER_SCRIPT, "entry-helper", REAP_SCRIPT, "entry-reap", word(mode), &age, &id];
    words.map(str::to_owned).to_vec()
}

fn word(mode: ReapMode) -> &'static str {
    match mode {
        ReapMode::Tree | ReapMode::Off => "tree",
        ReapMode::Session => "session",
    }
}

/// What a reaper has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// How many processes it found; more than 39 are told as 39.
    pub(super) processes: u8,
    pub(super) rest: Rest,
}

/// Who is there after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Nobody,
    /// Nobody that it could see, but it could not look into everybody who may be.
    Unseen,
    Left,
}

impl Found {
    /// From the reaper's exit status; none where that is not the script's.
    pub(super) fn read(status: i64) -> Option<Found> {
        let status = u8::try_from(status).ok().filter(|status| *status < 120)?;
        let rest = match status / 40 {
            0 => Rest::Nobody,
            1 => Rest::Unseen,
            _ => Rest::Left,
        };
        Some(Found { processes: status % 40, rest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_how_it_went() {
        for (status, expected) in [
            (0, Some((0, Rest::Nobody))),
            (39, Some((39, Rest::Nobody))),
            (40, Some((0, Rest::Unseen))),
            (79, Some((39, Rest::Unseen))),
            (80, Some((0, Rest::Left))),
            (119, Some((39, Rest::Left))),
            (120, None),
            (126, None),
            (127, None),
            (137, None),
            (-1, None),
            (256, None),
        ] {
            let expected = expected.map(|(processes, rest)| Found { processes, rest });
            assert_eq!(Found::read(status), expected, "{status}");
        }
    }

    #[test]
    fn the_helper_runs_the_reaper_as_an_exec_does() {
        let id = SessionId { boot: 1, number: 2 };
        let own = arguments(ReapMode::Session, 61, id);
        let beside = helper_arguments(ReapMode::Session, 61, id);
        assert_eq!(beside[3..], own[2..]);
        assert!(beside[1].contains("sh -c \"$@\""));
    }

    #[test]
    fn every_way_comes_to_an_end() {
        for (has_helper, expected) in [
            (false, &[Way::AsUser, Way::Privileged, Way::AsRoot][..]),
            (true, &[Way::AsUser, Way::Privileged, Way::AsRoot, Way::Beside]),
        ] {
            let ways: Vec<Way> =
                std::iter::successors(Some(Way::AsUser), |way| way.next(has_helper)).collect();
            assert_eq!(ways, expected);
        }
    }
}
