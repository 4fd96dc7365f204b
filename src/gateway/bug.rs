//! What is known of a panic in a loop: where it was and how it came there. The session that it met is ended, and the log
//! is told.
//!
//! Of its words only those are kept that stand in the source, since others may hold what was being worked on: a token, or
//! what somebody typed.

use crate::sys;
use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::panic::{self, PanicHookInfo};
use std::sync::Once;

thread_local! {
    /// This thread's panics are kept for [`take`].
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Frames of a back-trace that are told.
const FRAMES_MAX: usize = 40;

/// From now on this thread's panics are kept for [`take`], and not written to stderr.
pub(super) fn watch() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| match IS_WATCHED.get() {
            true => LAST.set(Some(told(info))),
            false => usual(info),
        }));
    });
    IS_WATCHED.set(true);
}

/// The last panic of this thread, for the log.
pub(super) fn take() -> String {
    LAST.take().unwrap_or_else(|| "nothing is known of it".to_owned())
}

fn told(info: &PanicHookInfo<'_>) -> String {
    let place =
        info.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
    let words = harmless_words(info.payload()).map_or_else(String::new, |words| format!(" ({words})"));
    let frames = frames(&format!("{:#}", Backtrace::force_capture()), sys::load_address());
    format!("a panic{place}{words}; back-trace: {}", frames.join(" < "))
}

/// Those of a panic that were not made of anything, and those of the language's own checks on places and lengths.
fn harmless_words(payload: &(dyn Any + Send)) -> Option<&str> {
    const OF_NUMBERS: [&str; 4] =
        ["index out of bounds: ", "range start index ", "range end index ", "slice index starts at "];
    if let Some(words) = payload.downcast_ref::<&'static str>() {
        return Some(words);
    }
    let words = payload.downcast_ref::<String>()?;
    OF_NUMBERS.iter().any(|begin| words.starts_with(begin)).then_some(words)
}

/// The frames of a back-trace as the standard library writes it, innermost first, without those of panicking itself.
/// One without a name, as they are in a stripped binary, is its address in the program's file, for `addr2line`.
fn frames(trace: &str, load_address: usize) -> Vec<String> {
    let mut frames: Vec<String> = Vec::new();
    for line in trace.lines().map(str::trim) {
        if let Some(place) = line.strip_prefix("at ") {
            if let Some(frame) = frames.last_mut() {
                let file = place.rsplit_once("/src/").map_or(place, |(_, file)| file);
                *frame += &format!(" ({file})");
            }
            continue;
        }
        let Some((_, frame)) = line.split_once(": ").filter(|(number, _)| number.parse::<u32>().is_ok())
        else {
            continue;
        };
        let (address, name) = frame.trim().split_once(" - ").unwrap_or(("", frame.trim()));
        let address = address.strip_prefix("0x").and_then(|digits| usize::from_str_radix(digits, 16).ok());
        frames.push(match (name, address) {
            ("<unknown>", Some(address)) => format!("0x{:x}", address.wrapping_sub(load_address)),
            (name, _) => name.to_owned(),
        });
    }
    let begins = frames.iter().rposition(|frame| frame.contains("rust_begin_unwind")).map_or(0, |at| at + 1);
    frames.drain(..begins);
    frames.truncate(FRAMES_MAX);
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_worked_on_stays_out_of_the_log() {
        let secret = std::hint::black_box("s3cret-tökén");
        let panics: [(&dyn Fn(), Option<&str>); 5] = [
            (&|| panic!("in so many words"), Some("in so many words")),
            (&|| panic!("{secret} is wrong"), None),
            (&|| drop(secret[..9].to_owned()), None),
            (
                &|| assert_eq!(std::hint::black_box(&[1, 2][..])[std::hint::black_box(7)], 1),
                Some("index out of bounds"),
            ),
            (&|| assert_eq!(std::hint::black_box(None::<u8>).expect(secret), 1), None),
        ];
        watch();
        for (panics, words) in panics {
            assert!(panic::catch_unwind(panic::AssertUnwindSafe(panics)).is_err());
            let told = take();
            assert!(told.starts_with("a panic at ") && told.contains("back-trace: "), "{told}");
            assert!(!told.contains("s3cret") && !told.contains("kén"), "{told}");
            assert!(words.is_none_or(|words| told.contains(words)), "{told}");
            assert!(told.contains("what_was_worked_on_stays_out_of_the_log"), "its own frames: {told}");
        }
        assert_eq!(take(), "nothing is known of it");
        IS_WATCHED.set(false);
    }

    #[test]
    fn frames_without_names_are_addresses_in_the_file() {
        let trace = "   0:     0x7f0000001010 - rust_begin_unwind\n   1:     0x7f0000002020 - <unknown>\n   \
                     2:     0x7f0000003030 - entry::session::Session::timer\n                               \
                     at /build/src/session/mod.rs:3:4\n   3:                0x0 - <unknown>\n";
        assert_eq!(
            frames(trace, 0x7f00_0000_0000)[..2],
            ["0x2020", "entry::session::Session::timer (session/mod.rs:3:4)"]
        );
        let stripped = "   0:     0x10 - <unknown>\n   1:     0x20 - <unknown>\n";
        assert_eq!(frames(stripped, 0), ["0x10", "0x20"]);
        assert!(frames("", 0).is_empty());
    }
}
