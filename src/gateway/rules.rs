//! The access rules of all loops: read from their files at start, and again when the operator asks for it.

use crate::access::{Rule, Rules, Spec};
use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// What loops share; each keeps what it last took, until the version is another.
#[derive(Debug)]
pub(super) struct SharedRules {
    specs: Vec<Spec>,
    current: Mutex<Vec<Rule>>,
    version: AtomicU32,
}

impl SharedRules {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// One of them cannot be read, or what is in it.
    pub(super) fn load(specs: &[Spec]) -> io::Result<SharedRules> {
        let rules: Result<Vec<Rule>, String> = specs.iter().map(load_rule).collect();
        let rules = rules.map_err(io::Error::other)?;
        Ok(SharedRules { specs: specs.to_vec(), current: Mutex::new(rules), version: AtomicU32::new(0) })
    }

    /// Reads the files again. A rule whose file is broken stays as it was, and the log says so.
    pub(super) fn reload(&self) {
        let Ok(mut current) = self.current.lock() else { return };
        for (spec, rule) in self.specs.iter().zip(current.iter_mut()) {
            let Some(file) = spec.file() else { continue };
            match load_rule(spec) {
                Ok(new) => {
                    log::info!("{file} has been read again");
                    *rule = new;
                }
                Err(trouble) => log::error!("{trouble}; the rules of before stay in force"),
            }
        }
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Changes with every [`SharedRules::reload`].
    pub(super) fn version(&self) -> u32 {
        self.version.load(Ordering::Acquire)
    }

    /// What is in force.
    pub(super) fn current(&self) -> Arc<Rules> {
        let rules = self.current.lock().map(|rules| rules.clone()).unwrap_or_default();
        Arc::new(Rules::new(rules))
    }
}

/// The rule, with what stands in its file.
///
/// # Errors
/// The file cannot be read, or what is wrong with it; nothing of it is repeated.
pub fn load_rule(spec: &Spec) -> Result<Rule, String> {
    let Some(path) = spec.file() else { return spec.rule(&[]) };
    let limit = spec.file_bytes_max();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(format!("{path} cannot be read: {error}")),
        Ok(_) if bytes.len() > limit => Err(format!("{path} is longer than {limit} bytes")),
        Ok(_) => spec.rule(&bytes).map_err(|mistake| format!("{path}: {mistake}")),
    }
}
