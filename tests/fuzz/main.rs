//! Replays the corpus of every fuzz target: each file whole, cut at every byte, and with each byte spoiled. What
//! libFuzzer finds beyond it (`scripts/fuzz`) is added to the corpus.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use targets::{TARGETS, Target};

/// Longer files are not cut at every byte.
const CUT_BYTES_MAX: usize = 2048;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

fn try_out(target: Target, name: &str, bytes: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target(bytes))).is_err() {
        panic!("{name} fails with {:?}", bytes.escape_ascii().to_string());
    }
}

#[test]
fn the_corpus_does_no_harm() {
    for (name, target) in TARGETS {
        let mut files = 0;
        for entry in fs::read_dir(corpus().join(name)).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            files += 1;
            try_out(target, name, &bytes);
            if bytes.len() > CUT_BYTES_MAX {
                continue;
            }
            for end in 0..bytes.len() {
                try_out(target, name, &bytes[..end]);
            }
            let mut spoiled = bytes.clone();
            for (at, byte) in bytes.iter().enumerate() {
                for other in [0, byte.wrapping_add(1), byte ^ 0x80, 0xff] {
                    spoiled[at] = other;
                    try_out(target, name, &spoiled);
                }
                spoiled[at] = *byte;
            }
        }
        assert!(files >= 3, "{name} has a corpus of {files}");
    }
}

#[test]
fn every_corpus_has_a_target_and_every_target_a_binary() {
    let known: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    let mut corpora: Vec<String> = fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    corpora.sort();
    assert_eq!(corpora, known);
}
