//! What a container's main process has said: a bounded log of lines, as the engine's `logs` shows it.

use std::collections::VecDeque;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::SystemTime;

use super::container::has_left;
use super::held;
use super::stream::Channel;

/// The most bytes a log keeps; the oldest lines go first.
const LOG_BYTES_MAX: usize = 1024 * 1024;
/// Longer lines are kept in pieces of this many bytes, as the engine does.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// One line of a log, its line end included.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) channel: Channel,
    pub(super) at: SystemTime,
    pub(super) bytes: Vec<u8>,
}

/// The log of one container; it outlives the container's restarts.
#[derive(Default)]
pub(super) struct Log(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    kept: VecDeque<Line>,
    kept_bytes: usize,
    /// How many lines there have been before those kept.
    gone: u64,
    unfinished: [Vec<u8>; 2],
    /// The container runs, so there may be more.
    open: bool,
    followers: Vec<UnixStream>,
}

impl Lines {
    fn push(&mut self, channel: Channel, bytes: Vec<u8>) {
        self.kept_bytes += bytes.len();
        self.kept.push_back(Line { channel, at: SystemTime::now(), bytes });
        while self.kept_bytes > LOG_BYTES_MAX
            && let Some(oldest) = self.kept.pop_front()
        {
            self.kept_bytes -= oldest.bytes.len();
            self.gone += 1;
        }
    }

    fn wake(&mut self) {
        // A full pipe is a follower that knows already; any other error one that has left.
        self.followers.retain(|follower| match (&*follower).write(&[1]) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        });
    }
}

impl Log {
    /// The container starts: there may be more lines.
    pub(super) fn begin(&self) {
        held(&self.0).open = true;
    }

    /// Takes what the process has said; a line is one when its end is there.
    pub(super) fn append(&self, channel: Channel, bytes: &[u8]) {
        let mut lines = held(&self.0);
        let at = channel as usize - 1;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            lines.unfinished[at].extend_from_slice(piece);
            if piece.ends_with(b"\n") || lines.unfinished[at].len() >= LINE_BYTES_MAX {
                let line = std::mem::take(&mut lines.unfinished[at]);
                lines.push(channel, line);
            }
        }
        lines.wake();
    }

    /// The process has ended: what it began is a line, and followers are to look.
    pub(super) fn end(&self) {
        let mut lines = held(&self.0);
        for channel in [Channel::Stdout, Channel::Stderr] {
            let line = std::mem::take(&mut lines.unfinished[channel as usize - 1]);
            if !line.is_empty() {
                lines.push(channel, line);
            }
        }
        lines.open = false;
        lines.wake();
    }

    /// The number of the first of the last `count` lines, or of all.
    pub(super) fn tail(&self, count: Option<usize>) -> u64 {
        let lines = held(&self.0);
        let shown = count.unwrap_or(usize::MAX).min(lines.kept.len());
        lines.gone + (lines.kept.len() - shown) as u64
    }

    /// The lines from a number on, the number after them, and whether there may be more.
    pub(super) fn from(&self, number: u64) -> (Vec<Line>, u64, bool) {
        let lines = held(&self.0);
        let skipped = usize::try_from(number.saturating_sub(lines.gone)).unwrap_or(usize::MAX);
        let next = lines.gone + lines.kept.len() as u64;
        (lines.kept.iter().skip(skipped).cloned().collect(), next, lines.open)
    }

    /// Lets go of followers that have left.
    pub(super) fn forget_followers(&self) {
        held(&self.0).followers.retain(|follower| !has_left(follower));
    }

    /// What becomes readable when there may be more.
    pub(super) fn follow(&self) -> std::io::Result<UnixStream> {
        let (waker, woken) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        held(&self.0).followers.push(waker);
        Ok(woken)
    }
}
