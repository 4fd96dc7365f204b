//! What of the configuration is about recordings.

use crate::recording::Version;
use std::path::PathBuf;

/// How sessions are written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where the files are.
    pub directory: PathBuf,
    /// What they look like.
    pub format: Version,
    /// What is typed is in them too, as far as the terminal shows it.
    pub input: bool,
    /// People are told.
    pub told: bool,
    /// What all files may take, in MiB: the oldest go then.
    pub total_mib_max: Option<u32>,
    /// How old they may become, in days.
    pub age_days_max: Option<u32>,
}

impl Record {
    /// Into this directory, and for ever.
    pub fn into(directory: PathBuf) -> Record {
        Record {
            directory,
            format: Version::Two,
            input: false,
            told: true,
            total_mib_max: None,
            age_days_max: None,
        }
    }
}

/// What the options have said so far.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) directory: Option<PathBuf>,
    pub(super) format: Option<Version>,
    pub(super) input: bool,
    pub(super) untold: bool,
    pub(super) total_mib_max: Option<u32>,
    pub(super) age_days_max: Option<u32>,
}

impl Wanted {
    pub(super) fn finish(self) -> Result<Option<Record>, String> {
        let Wanted { directory, format, input, untold, total_mib_max, age_days_max } = self;
        if let Some(directory) = directory {
            let format = format.unwrap_or_default();
            return Ok(Some(Record { directory, format, input, told: !untold, total_mib_max, age_days_max }));
        }
        let alone = [
            ("--record-format", format.is_some()),
            ("--record-input", input),
            ("--record-untold", untold),
            ("--record-max-size", total_mib_max.is_some()),
            ("--record-max-age", age_days_max.is_some()),
        ];
        match alone.iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) => Err(format!("{name} goes with --record DIR")),
            None => Ok(None),
        }
    }
}

pub(super) fn format(text: &str) -> Result<Version, String> {
    match text {
        "v2" => Ok(Version::Two),
        "v3" => Ok(Version::Three),
        _ => Err(format!("takes v2 or v3, not {text:?}")),
    }
}
