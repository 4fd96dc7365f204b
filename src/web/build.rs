//! The page's files, for `src/web/mod.rs`: made by `build.mjs` with what npm has, or taken as they are.
//!
//! - `ENTRY_WEB_ASSETS=DIR` names a folder that `build.mjs` has filled: neither npm nor the network is needed.
//! - `ENTRY_WEB_REQUIRED=1` makes it an error if there is no page; else the build goes on without one, and says so.
#![allow(clippy::print_stdout, reason = "this is how Cargo is told")]

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// For npm and for the bundling, each.
const SECONDS_MAX: u64 = 120;
const SOURCE: &str = "src/web";

type Fallible<T> = Result<T, Box<dyn Error>>;

fn main() -> Fallible<()> {
    println!("cargo::rerun-if-env-changed=ENTRY_WEB_ASSETS");
    println!("cargo::rerun-if-env-changed=ENTRY_WEB_REQUIRED");
    for entry in fs::read_dir(SOURCE)? {
        let path = entry?.path();
        if path.is_file() && path.extension().is_none_or(|extension| extension != "rs" && extension != "png")
        {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    println!("cargo::rerun-if-changed={SOURCE}/build.rs");

    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let files = match assets(&out) {
        Ok(folder) => list(&folder)?,
        Err(why) if std::env::var_os("ENTRY_WEB_REQUIRED").is_some() => {
            return Err(format!("the page cannot be made: {why}").into());
        }
        Err(why) => {
            println!("cargo::warning=Entry is built without its page: {why}");
            "const FILES: &[File] = &[];\n".to_owned()
        }
    };
    fs::write(out.join("files.rs"), files)?;
    Ok(())
}

/// The folder with the page's files.
fn assets(out: &Path) -> Fallible<PathBuf> {
    if let Some(folder) = std::env::var_os("ENTRY_WEB_ASSETS") {
        let folder = fs::canonicalize(&folder).map_err(|error| format!("ENTRY_WEB_ASSETS: {error}"))?;
        println!("cargo::rerun-if-changed={}", folder.display());
        return Ok(folder);
    }
    let (work, folder) = (out.join("npm"), out.join("page"));
    fs::create_dir_all(&work)?;
    let lock = fs::read(Path::new(SOURCE).join("package-lock.json"))?;
    for file in ["package.json", "package-lock.json", ".npmrc", "build.mjs"] {
        fs::copy(Path::new(SOURCE).join(file), work.join(file))?;
    }
    // What is installed stays for the next time, unless something else is wanted.
    let installed = work.join("installed");
    if fs::read(&installed).ok().as_ref() != Some(&lock) {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]);
        npm.args(["--fetch-retries=1", "--fetch-retry-mintimeout=500", "--fetch-timeout=20000"]);
        run(npm.current_dir(&work), &work.join("npm.log"))?;
        fs::write(&installed, lock)?;
    }
    let mut node = Command::new("node");
    node.arg("build.mjs").arg(fs::canonicalize(SOURCE)?).arg(&folder);
    run(node.current_dir(&work), &work.join("build.log"))?;
    Ok(folder)
}

/// Runs a program within its time; what it says is in the log, and the last of it in the error.
fn run(command: &mut Command, log: &Path) -> Fallible<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = fs::File::create(log)?;
    command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
    let mut child = command.spawn().map_err(|error| format!("{name} cannot be started ({error})"))?;
    let began = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if began.elapsed() > Duration::from_secs(SECONDS_MAX) => {
                child.kill()?;
                child.wait()?;
                return Err(format!("{name} took more than {SECONDS_MAX} s").into());
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    if status.success() {
        return Ok(());
    }
    let said = fs::read_to_string(log).unwrap_or_default();
    let last = said.lines().filter(|line| line.contains("rror")).take(2).collect::<Vec<_>>().join("; ");
    Err(format!("{name} failed ({last}); all it said is in {}", log.display()).into())
}

/// The files as Rust source.
fn list(folder: &Path) -> Fallible<String> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut source = String::from("const FILES: &[File] = &[\n");
    let mut has_page = false;
    for path in entries.iter().map(fs::DirEntry::path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (served, is_gzip) = match name.strip_suffix(".gz") {
            Some(inner) => (format!("/assets/{inner}"), true),
            None if name == "index.html" => ("/".to_owned(), false),
            None => continue,
        };
        has_page |= !is_gzip;
        let media_type = match name.trim_end_matches(".gz").rsplit_once('.').map(|(_, extension)| extension) {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some(_) | None => return Err(format!("{name}: what is this?").into()),
        };
        let etag = format!("\"{:016x}\"", fnv(&fs::read(&path)?));
        writeln!(
            source,
            "File {{ path: {served:?}, media_type: {media_type:?}, is_gzip: {is_gzip}, etag: {etag:?}, bytes: \
             include_bytes!({path:?}) }},"
        )?;
    }
    if !has_page {
        return Err(format!("there is no index.html in {}", folder.display()).into());
    }
    source.push_str("];\n");
    Ok(source)
}

/// FNV-1a, for telling one content from another.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
