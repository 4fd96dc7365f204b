//! One target under libFuzzer: the variable ENTRY_FUZZ names it.

#![no_main]

mod targets;

use std::sync::OnceLock;
use targets::{TARGETS, Target};

static TARGET: OnceLock<Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("ENTRY_FUZZ").unwrap_or_default();
        let found = TARGETS.iter().find(|(known, _)| *known == name);
        found.expect("ENTRY_FUZZ names a target of tests/fuzz/targets/mod.rs").1
    });
    target(data);
});
