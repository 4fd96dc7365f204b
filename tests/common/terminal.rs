//! A pseudo-terminal with a person in front of it, who types and waits for what he sees.

use super::program::Running;
use super::screen::Screen;
use super::{await_or, shown};
use entry::sys;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

/// A program on a terminal.
pub(crate) struct Terminal {
    keyboard: File,
    /// Kept, so that what is written last can be read after the program's end.
    program_side: OwnedFd,
    output: Arc<Mutex<Output>>,
    /// How far [`Terminal::expect`] has read.
    read: usize,
    pub(crate) running: Running,
}

struct Output {
    bytes: Vec<u8>,
    screen: Screen,
}

impl Terminal {
    /// Starts the program on a terminal of this size.
    pub(crate) fn start(mut command: Command, columns: u16, rows: u16) -> Terminal {
        let (master, slave) = sys::open_pty().unwrap();
        sys::set_window_size(master.as_fd(), columns, rows).unwrap();
        let side = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(side()).stdout(side()).stderr(side());
        sys::lead_session(&mut command, true);
        let screen = Screen::new(usize::from(columns));
        let output = Arc::new(Mutex::new(Output { bytes: Vec::new(), screen }));
        let (mut display, output_of_thread) = (master.try_clone().unwrap(), Arc::clone(&output));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = display.read(&mut buffer) {
                let mut output = output_of_thread.lock().unwrap();
                output.bytes.extend_from_slice(&buffer[..count]);
                output.screen.feed(&buffer[..count]);
            }
        });
        let running = Running::start_as_is(command);
        Terminal { keyboard: master, program_side: slave, output, read: 0, running }
    }

    /// Types.
    pub(crate) fn type_in(&mut self, keys: impl AsRef<[u8]>) {
        self.keyboard.write_all(keys.as_ref()).unwrap();
    }

    /// Gives the window another size, as a terminal emulator does.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        self.output.lock().unwrap().screen = Screen::new(usize::from(columns));
        sys::set_window_size(self.keyboard.as_fd(), columns, rows).unwrap();
    }

    /// Waits for this text behind what was expected before; gives what stood in between.
    pub(crate) fn expect(&mut self, text: impl AsRef<[u8]>) -> String {
        let text = text.as_ref();
        let read = self.read;
        let found = await_or(
            || format!("waited in vain for {}; there is {}", shown(text), shown(&self.unread(read))),
            || self.unread(read).windows(text.len()).position(|window| window == text),
        );
        self.read = read + found + text.len();
        String::from_utf8_lossy(&self.unread(read)[..found]).into_owned()
    }

    /// Waits until the screen, row by row, is as it should be; gives it.
    pub(crate) fn await_screen(&self, what: &str, is_right: impl Fn(&Screen) -> bool) -> Screen {
        await_or(
            || format!("the screen never shows {what}:\n{}", self.output.lock().unwrap().screen),
            || {
                let output = self.output.lock().unwrap();
                is_right(&output.screen).then(|| output.screen.clone())
            },
        )
    }

    /// Waits for the program's end; gives its status and what it showed since the last expectation.
    pub(crate) fn finish(mut self) -> (i32, String) {
        let status = self.running.status();
        // What was written last may still be on its way through the terminal: mark its end.
        let mut mark = File::from(self.program_side.try_clone().unwrap());
        mark.write_all(b"<end>").unwrap();
        let rest = self.expect("<end>");
        (status, rest)
    }

    /// Everything since the last expectation, drawing and all.
    pub(crate) fn rest(&self) -> String {
        String::from_utf8_lossy(&self.unread(self.read)).into_owned()
    }

    fn unread(&self, from: usize) -> Vec<u8> {
        self.output.lock().unwrap().bytes[from..].to_vec()
    }
}
