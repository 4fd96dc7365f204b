//! The thread that writes recordings: each into its own file, in whole lines, at least every second while something comes.
//!
//! A file always ends with a whole line, whatever happens to this process: lines are written together and cut back where
//! the disk took only a part of them. Where a file cannot be made or written, what it should have had is counted, and
//! marked in it once it can be written again.

use super::cast::{Encoder, Header, Version};
use super::echo::EchoWatch;
use super::shelf::Shelf;
use super::{Beginning, Event, Figures, Order, Shared};
use crate::config::{self, Record};
use crate::crowd::Crowd;
use crate::engine::WindowSize;
use crate::session::{Millis, SessionId};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The window where nobody says how big it is.
const WINDOW: WindowSize = WindowSize { columns: 80, rows: 24 };

/// All recordings that go on.
#[derive(Debug)]
pub(super) struct Writer {
    shelf: Shelf,
    format: Version,
    file_bytes_max: u64,
    reels: HashMap<u64, Reel>,
    /// Those with lines that are not in their files yet.
    dirty: Vec<u64>,
    /// When those are due.
    flush_at: Option<Instant>,
    look_at: Instant,
    crowd: Arc<Crowd>,
    figures: Arc<Figures>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// One recording.
#[derive(Debug)]
struct Reel {
    session: SessionId,
    header: Header,
    /// When it began: by its loop's clock, and in seconds since 1970.
    at: Millis,
    began: u64,
    encoder: Encoder,
    echo: EchoWatch,
    /// None while it could not be made.
    file: Option<File>,
    part: u32,
    /// When that one begins, in milliseconds since the recording did.
    base: u64,
    file_bytes: u64,
    /// Whole lines that are not in the file yet, and how many bytes of the session they tell.
    lines: Vec<u8>,
    told_bytes: u64,
    /// What could not be written since the last line that was.
    lost_bytes: u64,
    is_dirty: bool,
    shared: Arc<Shared>,
}

impl Writer {
    /// For this directory.
    ///
    /// # Errors
    /// It cannot be written to.
    pub(super) fn new(
        settings: &Record,
        crowd: Arc<Crowd>,
        figures: Arc<Figures>,
        waiting_bytes: Arc<AtomicUsize>,
    ) -> io::Result<Writer> {
        let Record { directory, format, total_mib_max, age_days_max, .. } = settings;
        let shelf = Shelf::new(directory.clone(), *total_mib_max, *age_days_max);
        shelf.probe().map_err(|error| {
            let why = format!(
                "--record {}: {error}; it takes a directory that this user may write to",
                directory.display()
            );
            io::Error::new(error.kind(), why)
        })?;
        // So that the files that go on are never most of what there may be.
        let share = shelf.total_bytes_max.map_or(u64::MAX, |total| total / 8);
        Ok(Writer {
            shelf,
            format: *format,
            file_bytes_max: config::RECORDED_FILE_BYTES_MAX.min(share),
            reels: HashMap::new(),
            dirty: Vec::new(),
            flush_at: None,
            look_at: Instant::now(),
            crowd,
            figures,
            waiting_bytes,
        })
    }

    /// Until nobody can give orders any more.
    pub(super) fn run(&mut self, orders: &Receiver<Order>) {
        loop {
            let now = Instant::now();
            if self.flush_at.is_some_and(|at| now >= at) {
                self.flush();
            }
            if now >= self.look_at {
                self.look();
            }
            let due = self.flush_at.map_or(self.look_at, |at| at.min(self.look_at));
            match orders.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Begin(number, beginning) => {
                let reel = Reel::new(self.format, *beginning);
                self.reels.insert(number, reel);
                self.touch(number);
                // At once, so that one that must be recorded and cannot be does not go on for long.
                self.write(number);
            }
            Order::Event(number, at, event) => {
                let bytes = event.waiting_bytes();
                if self.reels.get(&number).is_some_and(|reel| reel.is_full(self.file_bytes_max)) {
                    self.write(number);
                    if let Some(reel) = self.reels.get_mut(&number) {
                        reel.turn_over(at);
                    }
                }
                if let Some(reel) = self.reels.get_mut(&number) {
                    reel.take(at, &event);
                    let is_much = reel.lines.len() >= config::RECORDED_FLUSH_BYTES;
                    self.touch(number);
                    if is_much {
                        self.write(number);
                    }
                    if let Some(reel) = self.reels.get(&number) {
                        reel.shared.wrote(bytes);
                    }
                }
                self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            Order::End(number, at, told) => {
                if let (Some(reel), Some((status, text))) = (self.reels.get_mut(&number), told) {
                    let at = at.saturating_sub(reel.at);
                    reel.encoder.end(at, status, &text, &mut reel.lines);
                }
                self.write(number);
                if let Some(reel) = self.reels.remove(&number) {
                    self.figures.active.fetch_sub(1, Ordering::Relaxed);
                    self.figures.lost_bytes.fetch_add(reel.told_bytes, Ordering::Relaxed);
                }
            }
            Order::Tell(tell) => {
                self.flush();
                let _ = tell.send(());
            }
        }
    }

    /// It has lines that are not in its file.
    fn touch(&mut self, number: u64) {
        if let Some(reel) = self.reels.get_mut(&number)
            && !std::mem::replace(&mut reel.is_dirty, true)
        {
            self.dirty.push(number);
            self.flush_at.get_or_insert_with(|| Instant::now() + config::RECORDED_FLUSH_INTERVAL);
        }
    }

    fn flush(&mut self) {
        self.flush_at = None;
        for number in std::mem::take(&mut self.dirty) {
            self.write(number);
            if let Some(reel) = self.reels.get_mut(&number) {
                reel.is_dirty = false;
            }
        }
    }

    /// Brings a recording's lines into its file.
    fn write(&mut self, number: u64) {
        let Some(reel) = self.reels.get_mut(&number) else { return };
        match reel.write(&self.shelf) {
            Ok(bytes) => {
                self.figures.written_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Err(error) => {
                self.figures.lost_bytes.fetch_add(reel.lose(), Ordering::Relaxed);
                if self.crowd.can_record() {
                    self.crowd.note_recording(false);
                    log::error!(
                        "recordings in {} cannot be written ({error}); until they can be, nobody is let in whose session \
                         must be recorded",
                        self.shelf.directory.display()
                    );
                }
            }
        }
    }

    /// Now and then: what is old goes, and where nothing could be written, that is tried.
    fn look(&mut self) {
        self.look_at = Instant::now() + config::RECORDED_LOOK_INTERVAL;
        match self.shelf.tidy(SystemTime::now()) {
            Ok(0) => {}
            Ok(removed) => log::info!("{removed} old recordings were removed"),
            Err(error) => log::warn!("old recordings cannot be looked for: {error}"),
        }
        if !self.crowd.can_record() && self.shelf.probe().is_ok() {
            self.crowd.note_recording(true);
            let lost = self.figures.lost_bytes.load(Ordering::Relaxed);
            log::warn!("recordings can be written again; {lost} bytes were lost so far");
        }
    }
}

impl Shared {
    fn wrote(&self, bytes: usize) {
        let before = self.waiting_bytes.fetch_sub(bytes, Ordering::SeqCst);
        // The loop goes on when a quarter is left, so that it is not woken for every event.
        if before - bytes < super::HALF_BYTES / 2 && self.is_awaited.swap(false, Ordering::SeqCst) {
            // A loop that is gone needs no waking.
            let _ = self.waker.wake();
        }
    }
}

impl Reel {
    fn new(format: Version, beginning: Beginning) -> Reel {
        let Beginning { about, at, began, window, shared } = beginning;
        let since = began.duration_since(UNIX_EPOCH).unwrap_or_default();
        let header = Header {
            window: window.unwrap_or(WINDOW),
            began: since.as_secs(),
            title: about.title,
            command: about.command,
        };
        let mut reel = Reel {
            session: about.session,
            header,
            at,
            began: since.as_secs(),
            encoder: Encoder::new(format, window.is_some()),
            echo: EchoWatch::default(),
            file: None,
            part: 1,
            base: 0,
            file_bytes: 0,
            lines: Vec::new(),
            told_bytes: 0,
            lost_bytes: 0,
            is_dirty: false,
            shared,
        };
        reel.encoder.header(0, &reel.header, &mut reel.lines);
        reel
    }

    fn take(&mut self, at: Millis, event: &Event) {
        let at = at.saturating_sub(self.at);
        let Reel { encoder, echo, lines, header, told_bytes, lost_bytes, .. } = self;
        if *lost_bytes > 0 && !matches!(event, Event::Gap(_)) {
            encoder.gap(at, std::mem::take(lost_bytes), lines);
            echo.forget();
        }
        match event {
            Event::Output(bytes) => {
                encoder.output(at, bytes, lines);
                *told_bytes += bytes.len() as u64;
                echo.shown(bytes, &mut |line| encoder.input(at, line, lines));
            }
            Event::Input(bytes) => echo.typed(bytes, &mut |line| encoder.input(at, line, lines)),
            Event::Resized(window) => {
                header.window = *window;
                encoder.resize(at, *window, lines);
            }
            Event::Gap(bytes) => {
                encoder.gap(at, bytes + std::mem::take(lost_bytes), lines);
                echo.forget();
            }
        }
    }

    /// How many bytes went into the file.
    fn write(&mut self, shelf: &Shelf) -> io::Result<u64> {
        if self.lines.is_empty() {
            return Ok(0);
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(shelf.create(self.began, self.session, self.part)?),
        };
        if let Err(error) = file.write_all(&self.lines) {
            // Only whole lines stand in it. Where even that fails, a reader skips what is cut.
            let _ = file.set_len(self.file_bytes);
            return Err(error);
        }
        let bytes = self.lines.len() as u64;
        self.file_bytes += bytes;
        self.told_bytes = 0;
        // An idle recording holds nothing.
        self.lines = Vec::new();
        Ok(bytes)
    }

    /// Forgets what could not be written; how many bytes of the session that was.
    fn lose(&mut self) -> u64 {
        self.shared.failed.store(true, Ordering::Relaxed);
        self.lines = Vec::new();
        if self.file_bytes == 0 {
            self.encoder.header(self.base, &self.header, &mut self.lines);
        }
        let lost = std::mem::take(&mut self.told_bytes);
        self.lost_bytes += lost;
        lost
    }

    /// It is to go on in another file.
    fn is_full(&self, file_bytes_max: u64) -> bool {
        self.file_bytes + self.lines.len() as u64 >= file_bytes_max
    }

    /// Goes on in the next file, from this moment of its loop's clock.
    fn turn_over(&mut self, at: Millis) {
        self.base = at.saturating_sub(self.at);
        self.part += 1;
        (self.file, self.file_bytes) = (None, 0);
        self.header.began = self.began + self.base / 1000;
        self.encoder.header(self.base, &self.header, &mut self.lines);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{About, Recorder};
    use super::*;
    use crate::gateway::{Seen, Wanted};
    use mio::{Poll, Token, Waker};
    use std::path::PathBuf;
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    /// A recorder whose thread does not run: a disk that takes as long as it likes.
    struct Stalled {
        writer: Writer,
        orders: Receiver<Order>,
        recorder: Recorder,
        poll: Poll,
        waker: Arc<Waker>,
        directory: PathBuf,
    }

    impl Stalled {
        fn new(settings: impl FnOnce(PathBuf) -> Record) -> Stalled {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let directory = std::env::temp_dir().join(format!("writer-test-{}-{number}", std::process::id()));
            std::fs::create_dir(&directory).unwrap();
            let (recorder, ordered) = Recorder::new(true);
            let (figures, waiting) = (recorder.figures.clone(), recorder.waiting_bytes.clone());
            let writer = Writer::new(&settings(directory.clone()), Arc::default(), figures, waiting).unwrap();
            let poll = Poll::new().unwrap();
            let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
            Stalled { writer, orders: ordered, recorder, poll, waker, directory }
        }

        fn tape(&self, must: bool) -> Box<dyn crate::gateway::Observer> {
            let session = SessionId { boot: 1, number: self.recorder.next.load(Ordering::Relaxed) };
            let about = About { session, title: "ada in shop/web".to_owned(), command: None, must };
            let mut tape = self.recorder.tape(about, self.waker.clone());
            assert_eq!(tape.see(0, Seen::Output(b"early")), Wanted::More);
            let (user, container, engine) = ("ada", "c", "e");
            let opened =
                Seen::Opened { window: Some(WINDOW), user, tty: true, container, name: None, engine };
            tape.see(1000, opened);
            tape
        }

        /// The disk takes everything now.
        fn catch_up(&mut self) {
            while let Ok(order) = self.orders.try_recv() {
                self.writer.obey(order);
            }
            self.writer.flush();
        }

        fn is_woken(&mut self) -> bool {
            let mut events = mio::Events::with_capacity(4);
            self.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            !events.is_empty()
        }

        /// Lines of all files, in their order.
        fn lines(&self) -> Vec<Vec<String>> {
            let mut files: Vec<PathBuf> =
                std::fs::read_dir(&self.directory).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            let read = |path| std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
            files.into_iter().map(read).collect()
        }
    }

    impl Drop for Stalled {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }

    #[test]
    fn what_finds_no_room_is_lost_counted_and_marked() {
        let mut stalled = Stalled::new(Record::into);
        let mut tape = stalled.tape(false);
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..20 {
            assert_eq!(tape.see(2000, Seen::Output(&piece)), Wanted::More);
            assert!(!tape.is_behind(), "nobody waits for it");
        }
        let waiting = stalled.recorder.waiting_bytes.load(Ordering::Relaxed);
        assert!(waiting <= config::RECORDED_WAITING_BYTES_PER_SESSION_MAX, "{waiting}");
        let lost = stalled.recorder.figures().lost_bytes.load(Ordering::Relaxed);
        assert_eq!(lost % 65_536, 0);
        assert!(lost >= 4 * 65_536, "{lost}");
        stalled.catch_up();
        assert_eq!(stalled.recorder.waiting_bytes.load(Ordering::Relaxed), 0);
        tape.see(3000, Seen::Output(b"after"));
        tape.see(4500, Seen::Ended { status: Some(0), text: "Exited." });
        stalled.catch_up();
        let lines = stalled.lines().remove(0);
        assert_eq!(
            lines[lines.len() - 3..],
            [
                format!("[2.000, \"m\", \"{lost} bytes could not be recorded here\"]"),
                "[2.000, \"o\", \"after\"]".to_owned(),
                "[3.500, \"m\", \"exited with status 0\"]".to_owned(),
            ]
        );
        assert!(!lines.iter().any(|line| line.contains("early")));
        let figures = stalled.recorder.figures();
        let read = |figure: &std::sync::atomic::AtomicU64| figure.load(Ordering::Relaxed);
        assert_eq!((read(&figures.active), read(&figures.lost_bytes)), (0, lost));
        let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
        assert_eq!(read(&figures.written_bytes), bytes as u64);
    }

    #[test]
    fn one_that_must_be_recorded_waits_for_the_disk_and_wakes_its_loop() {
        let mut stalled = Stalled::new(Record::into);
        let mut tape = stalled.tape(true);
        let piece = vec![b'x'; 64 * 1024];
        let mut pieces = 0;
        while !tape.is_behind() {
            assert_eq!(tape.see(2000, Seen::Output(&piece)), Wanted::More);
            pieces += 1;
        }
        // A turn's worth fits behind it.
        for _ in 0..config::TURN_BYTES / piece.len() {
            assert_eq!(tape.see(2000, Seen::Output(&piece)), Wanted::More);
            pieces += 1;
        }
        assert!(!stalled.is_woken());
        stalled.catch_up();
        assert!(stalled.is_woken() && !tape.is_behind());
        drop(tape);
        stalled.catch_up();
        let shown: usize = stalled.lines()[0].iter().map(|line| line.matches('x').count()).sum();
        assert_eq!(shown, pieces * piece.len());
        assert_eq!(stalled.recorder.figures().lost_bytes.load(Ordering::Relaxed), 0);
        // Who floods it all the same, as with input, is ended.
        let mut tape = stalled.tape(true);
        let wanted: Vec<Wanted> = (0..17).map(|_| tape.see(1, Seen::Input(&piece))).collect();
        assert!(matches!(wanted[16], Wanted::TheEnd(_)) && wanted[0] == Wanted::More, "{wanted:?}");
    }

    #[test]
    fn a_long_one_goes_on_in_the_next_file() {
        let mut stalled =
            Stalled::new(|directory| Record { format: Version::Three, ..Record::into(directory) });
        stalled.writer.file_bytes_max = 200;
        let mut tape = stalled.tape(false);
        for second in 1..=6 {
            tape.see(1000 + second * 1000, Seen::Output(&[b'x'; 40]));
            stalled.catch_up();
        }
        let files = stalled.lines();
        assert!(files.len() >= 2, "{files:?}");
        for (number, lines) in files.iter().enumerate() {
            assert!(lines[0].starts_with("{\"term\":{\"cols\":80"), "{lines:?}");
            // The first event of a next file is at its beginning.
            let first = if number == 0 { "[1.000," } else { "[0.000," };
            assert!(lines[1].starts_with(first), "{lines:?}");
        }
        assert_eq!(files.iter().flatten().filter(|line| line.contains("xxx")).count(), 6);
    }

    #[test]
    fn a_disk_that_is_full_loses_whole_lines_and_what_comes_back_is_marked() {
        let mut stalled = Stalled::new(Record::into);
        let mut tape = stalled.tape(false);
        stalled.catch_up();
        tape.see(2000, Seen::Output(b"before"));
        stalled.catch_up();
        // In its place stands what takes nothing.
        let full = || Some(File::options().write(true).open("/dev/full").unwrap());
        let file =
            stalled.writer.reels.values_mut().next().map(|reel| std::mem::replace(&mut reel.file, full()));
        tape.see(3000, Seen::Output(b"lost"));
        stalled.catch_up();
        assert!(!stalled.writer.crowd.can_record());
        if let Some(reel) = stalled.writer.reels.values_mut().next() {
            reel.file = file.flatten();
        }
        stalled.writer.look();
        assert!(stalled.writer.crowd.can_record());
        tape.see(4000, Seen::Output(b"after"));
        stalled.catch_up();
        let lines = stalled.lines().remove(0);
        assert_eq!(
            lines[1..],
            [
                "[1.000, \"o\", \"before\"]",
                "[3.000, \"m\", \"4 bytes could not be recorded here\"]",
                "[3.000, \"o\", \"after\"]"
            ]
        );
        assert_eq!(stalled.recorder.figures().lost_bytes.load(Ordering::Relaxed), 4);
    }
}
