//! The page: a terminal in the browser. Its files as the build script made them, and how requests for them are answered.
//!
//! The page itself is TypeScript beside this file; `build.rs` bundles and compresses it. Knows HTTP heads, and nothing
//! of sockets or sessions.

use crate::wire::http::{Headers, RequestHead, write_response_head};

/// A file of the page.
struct File {
    /// Below the base path: `/`, or `/assets/` and a name with a hash of its content.
    path: &'static str,
    media_type: &'static str,
    /// It is stored compressed, and given so.
    is_gzip: bool,
    /// A hash of its content, in quotes.
    etag: &'static str,
    bytes: &'static [u8],
}

// FILES: what the build script found, or nothing.
include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// Where everything but the page itself lies.
const ASSETS: &str = "/assets/";

/// What a browser may do for this page: run its own scripts and talk to its own gateway, and nothing else. Styles may be
/// inline, since xterm.js writes its colours and the size of its cells into the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// What stands in for the page where there is none.
const NO_PAGE: &str = "This build of Entry has no page: when it was built, npm or the network was missing. Build it anew \
                       with Node.js 18 and npm in the path, after `touch src/web/package.json`; or let \
                       ENTRY_WEB_ASSETS name a folder that `node src/web/build.mjs` has filled elsewhere.\n";
const NO_GZIP: &str = "This file is stored with gzip, which the request does not accept.\n";

/// The answer to a request for the page or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    headers: Vec<(&'static str, String)>,
    media_type: &'static str,
    /// What follows the head, unless only the head was asked for.
    pub body: &'static [u8],
}

impl Answer {
    /// Appends the head, after whose body the connection is to be closed.
    pub fn write_head(&self, out: &mut Vec<u8>) {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        write_response_head(out, self.status, &headers, self.media_type, self.body.len());
    }

    fn text(status: u16, text: &'static str) -> Answer {
        let headers = vec![("X-Content-Type-Options", "nosniff".to_owned())];
        Answer { status, headers, media_type: "text/plain; charset=utf-8", body: text.as_bytes() }
    }
}

/// The answer to a request whose path is `path` below `base`; none where nothing of the page is there.
pub fn answer(head: &RequestHead<'_>, base: &str, path: &str) -> Option<Answer> {
    answer_from(FILES, head, base, path)
}

fn answer_from(files: &[File], head: &RequestHead<'_>, base: &str, path: &str) -> Option<Answer> {
    let is_base_alone = path.is_empty() && !base.is_empty();
    let file = files.iter().find(|file| file.path == path);
    if file.is_none() && path != "/" && !is_base_alone {
        return None;
    }
    if !matches!(head.method, "GET" | "HEAD") {
        let mut refusal = Answer::text(405, "Use GET.\n");
        refusal.headers.push(("Allow", "GET, HEAD".to_owned()));
        return Some(refusal);
    }
    if is_base_alone {
        // The page names its files from where it is.
        let mut elsewhere = Answer::text(308, "The page is one slash further.\n");
        elsewhere.headers.push(("Location", format!("{base}/")));
        return Some(elsewhere);
    }
    let Some(file) = file else { return Some(Answer::text(404, NO_PAGE)) };
    let mut headers = vec![("ETag", file.etag.to_owned())];
    let is_hashed = file.path.starts_with(ASSETS);
    // The page itself is asked about each time; what it names never changes.
    let caching = if is_hashed { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.push(("Cache-Control", caching.to_owned()));
    if file.is_gzip {
        headers.push(("Vary", "Accept-Encoding".to_owned()));
    }
    if head.headers.has_token("If-None-Match", file.etag) {
        return Some(Answer { status: 304, headers, media_type: "", body: &[] });
    }
    if file.is_gzip {
        if !accepts_gzip(&head.headers) {
            return Some(Answer::text(406, NO_GZIP));
        }
        headers.push(("Content-Encoding", "gzip".to_owned()));
    }
    for (name, value) in [
        ("Content-Security-Policy", POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ] {
        headers.push((name, value.to_owned()));
    }
    Some(Answer { status: 200, headers, media_type: file.media_type, body: file.bytes })
}

/// Who says nothing of encodings takes any (RFC 9110, 12.5.3).
fn accepts_gzip(headers: &Headers<'_>) -> bool {
    let mut says_nothing = true;
    let mut any = false;
    for value in headers.all("Accept-Encoding") {
        says_nothing = false;
        for choice in value.split(|byte| *byte == b',') {
            let mut parts = choice.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let coding = parts.next().unwrap_or_default();
            let is_refused = parts.any(|part| {
                let part = part.to_ascii_lowercase();
                part.strip_prefix(b"q=")
                    .is_some_and(|weight| !weight.iter().any(|byte| (b'1'..=b'9').contains(byte)))
            });
            if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") {
                return !is_refused;
            }
            any |= coding == b"*" && !is_refused;
        }
    }
    says_nothing || any
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{parse_request, parse_response};

    const HERE: &[File] = &[
        File {
            path: "/",
            media_type: "text/html; charset=utf-8",
            is_gzip: false,
            etag: "\"1\"",
            bytes: b"<page>",
        },
        File {
            path: "/assets/a-1.js",
            media_type: "text/javascript; charset=utf-8",
            is_gzip: true,
            etag: "\"2\"",
            bytes: b"zipped",
        },
    ];

    fn ask(files: &[File], method: &str, base: &str, path: &str, lines: &str) -> Option<Answer> {
        let request = format!("{method} {base}{path} HTTP/1.1\r\nHost: e\r\n{lines}\r\n");
        let (head, _) = parse_request(request.as_bytes(), 4096).unwrap().unwrap();
        answer_from(files, &head, base, path)
    }

    fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
        answer.headers.iter().find(|(of, _)| *of == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn what_is_there_and_what_is_not() {
        let table = [
            ("GET", "", "/", "", Some(200)),
            ("HEAD", "", "/", "", Some(200)),
            ("POST", "", "/", "", Some(405)),
            ("POST", "", "/assets/a-1.js", "", Some(405)),
            ("GET", "/entry", "", "", Some(308)),
            ("GET", "/entry", "/", "", Some(200)),
            ("GET", "", "/assets/a-1.js", "", Some(200)),
            ("GET", "", "/assets/a-1.js", "If-None-Match: \"1\", \"2\"\r\n", Some(304)),
            ("GET", "", "/assets/a-1.js", "If-None-Match: \"1\"\r\n", Some(200)),
            ("GET", "", "/assets/a-1.js", "Accept-Encoding: identity\r\n", Some(406)),
            ("GET", "", "/", "Accept-Encoding: identity\r\n", Some(200)),
            ("GET", "", "/assets/a-1.js.gz", "", None),
            ("GET", "", "/assets/", "", None),
            ("GET", "", "/assets/../a-1.js", "", None),
            ("GET", "", "nowhere", "", None),
            ("POST", "", "/nothing", "", None),
        ];
        for (method, base, path, lines, status) in table {
            let told = ask(HERE, method, base, path, lines).map(|answer| answer.status);
            assert_eq!(told, status, "{method} {base}{path} {lines}");
        }
        assert_eq!(header(&ask(HERE, "GET", "/entry", "", "").unwrap(), "Location"), Some("/entry/"));
    }

    #[test]
    fn a_build_without_the_page_says_how_to_get_it() {
        let answer = ask(&[], "GET", "", "/", "").unwrap();
        assert_eq!(answer.status, 404);
        assert!(std::str::from_utf8(answer.body).unwrap().contains("ENTRY_WEB_ASSETS"));
        assert_eq!(ask(&[], "GET", "", "/assets/a-1.js", ""), None);
    }

    #[test]
    fn what_never_changes_is_kept_and_the_page_is_asked_about() {
        let page = ask(HERE, "GET", "", "/", "").unwrap();
        let script = ask(HERE, "GET", "", "/assets/a-1.js", "Accept-Encoding: br, gzip\r\n").unwrap();
        assert_eq!(header(&page, "Cache-Control"), Some("no-cache"));
        assert_eq!(header(&page, "Content-Encoding"), None);
        assert_eq!(header(&script, "Cache-Control"), Some("public, max-age=31536000, immutable"));
        assert_eq!(header(&script, "Content-Encoding"), Some("gzip"));
        let mut out = Vec::new();
        page.write_head(&mut out);
        let (head, _) = parse_response(&out, 4096).unwrap().unwrap();
        assert_eq!(head.header("content-length"), Some("6"));
        assert!(!head.keeps_alive());
        let policy = head.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");

        let mut out = Vec::new();
        ask(HERE, "GET", "", "/", "If-None-Match: \"1\"\r\n").unwrap().write_head(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("HTTP/1.1 304 Not Modified\r\n") && !text.contains("Content-"), "{text}");
    }

    #[test]
    fn encodings() {
        let table = [
            ("", true),
            ("Accept-Encoding: gzip\r\n", true),
            ("Accept-Encoding: br\r\nAccept-Encoding: GZIP;q=0.5\r\n", true),
            ("Accept-Encoding: *\r\n", true),
            ("Accept-Encoding: *, gzip;q=0\r\n", false),
            ("Accept-Encoding: *;q=0.000\r\n", false),
            ("Accept-Encoding:\r\n", false),
            ("Accept-Encoding: br, identity\r\n", false),
        ];
        for (lines, accepts) in table {
            let request = format!("GET / HTTP/1.1\r\n{lines}\r\n");
            let (head, _) = parse_request(request.as_bytes(), 4096).unwrap().unwrap();
            assert_eq!(accepts_gzip(&head.headers), accepts, "{lines}");
        }
    }
}
