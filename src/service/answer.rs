//! What a service answers: whole HTTP replies → values, or one sentence that says why there is none.
//!
//! The sentences name no header and no body: what a service says may hold what is nobody's business.
//!
//! May not know: requests, sockets, what the value means.

use crate::wire::http::Reply;
use serde::de::DeserializeOwned;

/// The longest body that is read, in bytes. What lainlet says of an instance takes less than 1 kB.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The JSON body of a reply with status 200.
///
/// # Errors
/// One sentence, in which the service is "it": another status, or a body that is not the JSON that was asked for.
pub fn read_json<T: DeserializeOwned>(reply: &Reply) -> Result<T, String> {
    if reply.status() != 200 {
        return Err(format!("it answered {}", reply.status()));
    }
    serde_json::from_slice(&reply.body).map_err(|error| {
        // serde_json's own words may quote the value that it did not like.
        let what = match error.classify() {
            serde_json::error::Category::Data => "JSON of another shape than it should be",
            serde_json::error::Category::Eof => "JSON that is cut short",
            serde_json::error::Category::Io | serde_json::error::Category::Syntax => "no JSON",
        };
        format!("its answer is {what} (line {}, column {})", error.line(), error.column())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixtures::{json, reply};

    #[test]
    fn answers() {
        assert_eq!(read_json::<Vec<u8>>(&json(200, "[1, 2]")), Ok(vec![1, 2]));
        for (answer, words) in [
            (json(204, ""), "it answered 204"),
            (json(500, "[1]"), "it answered 500"),
            (reply(302, &[("Location", "http://x/?token=t")], ""), "it answered 302"),
            (json(200, ""), "JSON that is cut short"),
            (json(200, "[1"), "JSON that is cut short"),
            (json(200, "<html>secret"), "no JSON"),
            (json(200, "[\"secret\"]"), "another shape"),
            (json(200, "[1] secret"), "no JSON"),
        ] {
            let error = read_json::<Vec<u8>>(&answer).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
