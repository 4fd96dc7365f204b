//! Clients that take their time: how far one has come that says so, and what one misses that only looks on.

use super::relay::{Piece, write_message, write_output};
use super::{Context, Lane};
use crate::config;
use crate::wire::message::{Codec, Output, ResponseType};

/// How far a client has come that says so: it may have half a window between two marks, and two marks before it.
#[derive(Debug)]
pub(super) struct Pace {
    half: u32,
    /// Bytes that have gone since the last mark.
    unmarked: u32,
    /// Marks that the client has not answered.
    marks: u8,
}

impl Pace {
    /// None for as much as its socket takes.
    pub(super) fn new(window: u32) -> Option<Pace> {
        (window > 0).then(|| Pace { half: window.div_ceil(2), unmarked: 0, marks: 0 })
    }

    /// So much output has gone to the client: at each half of the window a mark follows it.
    pub(super) fn sent(&mut self, bytes: usize, codec: Codec, cx: &mut Context<'_>) {
        self.unmarked = self.unmarked.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.unmarked >= self.half && !self.lags() {
            self.unmarked = 0;
            self.marks += 1;
            write_message(codec, &mut cx.to_client.bytes, ResponseType::Mark, b"");
        }
    }

    /// The client has come to the oldest mark.
    pub(super) fn marked(&mut self) {
        self.marks = self.marks.saturating_sub(1);
    }

    pub(super) fn lags(&self) -> bool {
        self.marks >= 2
    }
}

/// What an attached viewer has missed.
#[derive(Debug, Default)]
pub(super) struct Viewer {
    skipping: bool,
    lines: u64,
}

impl Viewer {
    /// Whether the piece, or what is left of it, goes to the viewer.
    pub(super) fn admits(
        &mut self,
        codec: Codec,
        buffer: &[u8],
        piece: &mut Piece<'_>,
        backlog: usize,
        lane: &mut Lane,
    ) -> bool {
        if !self.skipping && backlog + lane.bytes.len() <= config::VIEWER_BACKLOG_BYTES_MAX {
            return true;
        }
        if !self.skipping {
            self.skipping = true;
            piece.forget_tail();
        }
        let bytes = &buffer[piece.range.clone()];
        let line_end = bytes.iter().position(|byte| *byte == b'\n');
        match line_end {
            // Go on with a whole line once everything before it has been taken.
            Some(at) if backlog == 0 => {
                self.lines += 1;
                piece.range.start += at + 1;
                self.confess(codec, lane);
                !piece.range.is_empty()
            }
            Some(_) | None => {
                self.lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
                false
            }
        }
    }

    /// Tells the viewer how much was skipped.
    pub(super) fn confess(&mut self, codec: Codec, lane: &mut Lane) {
        if self.skipping {
            let text = format!(
                "\r\n\x1b[31m>>> {} lines were skipped: this viewer reads too slowly.\x1b[0m\r\n",
                self.lines
            );
            write_output(codec, &mut lane.bytes, Output::Stderr, text.as_bytes());
            *self = Viewer::default();
        }
    }
}

/// What waits for an attached viewer: one that lags has too much already, wherever it lies.
#[inline]
pub(super) fn waiting(client_backlog: usize, lags: bool) -> usize {
    if lags { config::VIEWER_BACKLOG_BYTES_MAX + 1 } else { client_backlog }
}
