//! What runs in the stand-in engine's containers: its name says what it does, and all it says is known beforehand.

use crate::pattern;

/// A process, as its name asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Process {
    /// Gives back what it reads; ^D ends it.
    Echo,
    /// Waits for a byte, says so many bytes, ends.
    Flood(Flood),
    /// Reads and says nothing; ^D ends it.
    Silent,
    /// Says a line every so often.
    Chat(Chat),
    /// Gives back what it reads, and reads slowly; ^D ends it.
    Slow { bytes_per_second: usize },
    /// Ends at once, with this status.
    Exit(i32),
    /// Entry's guard: says that it stands, reads, and ends with its input.
    Guard,
}

/// The rest of a flood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flood {
    pub(crate) going: bool,
    pub(crate) left: u64,
    /// Where in the pattern it is.
    pub(crate) at: u64,
    /// What the process hands to the engine at once, and so what a frame holds.
    pub(crate) write_bytes: usize,
}

/// Lines of one stream, one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chat {
    pub(crate) milliseconds: u64,
    pub(crate) at: u64,
}

impl Chat {
    /// The next line.
    pub(crate) fn line(&mut self) -> &'static [u8] {
        let end = pattern::boundary(self.at + CHAT_BYTES);
        let length = usize::try_from(end - self.at).unwrap_or(0);
        let line = pattern::slice(self.at, length);
        self.at = end;
        line
    }
}

const CHAT_BYTES: u64 = 60;

/// `echo`, `flood.BYTES.WRITE_BYTES.STREAM`, `silent`, `chat.MILLISECONDS.STREAM`, `slow.BYTES_PER_SECOND`,
/// `exit.STATUS`.
pub(crate) fn parse(name: &str) -> Option<Process> {
    let (kind, rest) = name.split_once('.').unwrap_or((name, ""));
    let numbers: Option<Vec<u64>> =
        rest.split('.').filter(|part| !part.is_empty()).map(|part| part.parse().ok()).collect();
    match (kind, &numbers?[..]) {
        ("echo", []) => Some(Process::Echo),
        ("silent", []) => Some(Process::Silent),
        ("flood", [bytes, write_bytes, stream]) => Some(Process::Flood(Flood {
            going: false,
            left: *bytes,
            at: pattern::start(*stream),
            write_bytes: usize::try_from(*write_bytes).ok()?.clamp(1, 60_000),
        })),
        ("chat", [milliseconds, stream]) => {
            Some(Process::Chat(Chat { milliseconds: (*milliseconds).max(1), at: pattern::start(*stream) }))
        }
        ("slow", [bytes]) => Some(Process::Slow { bytes_per_second: usize::try_from(*bytes).ok()?.max(100) }),
        ("exit", [status]) => Some(Process::Exit(i32::try_from(*status).ok()?)),
        _ => None,
    }
}
