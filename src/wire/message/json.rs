//! LAIN's JSON with base64 content, for its clients in browsers.

use super::{Hello, MessageError, Request, ResponseType, parse_window_size};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

/// LAIN's first message in JSON: who asks for what.
///
/// # Errors
/// It is not a JSON object whose values for the known keys are strings.
pub fn decode_json_hello(message: &[u8]) -> Result<Hello, MessageError> {
    #[derive(serde::Deserialize)]
    struct JsonHello {
        #[serde(default)]
        access_token: String,
        #[serde(default)]
        app_name: String,
        #[serde(default)]
        proc_name: String,
        #[serde(default)]
        instance_no: String,
        #[serde(default)]
        container: String,
        #[serde(default)]
        term_type: String,
    }
    let hello: JsonHello = from_object(
        message,
        "the first message is not a JSON object of the strings access_token, app_name, proc_name, instance_no",
    )?;
    Ok(Hello {
        access_token: hello.access_token,
        app: hello.app_name,
        proc: hello.proc_name,
        instance: hello.instance_no,
        container: hello.container,
        term: hello.term_type,
        ..Hello::default()
    })
}

#[derive(serde::Deserialize)]
struct JsonRequest<'a> {
    #[serde(default, rename = "msgType")]
    msg_type: Option<i32>,
    #[serde(default, borrow)]
    content: Option<Cow<'a, str>>,
}

#[inline]
pub(super) fn decode_json<'a>(message: &[u8], scratch: &'a mut Vec<u8>) -> Result<Request<'a>, MessageError> {
    let request: JsonRequest<'_> =
        from_object(message, "the message is not a JSON object with msgType and content")?;
    scratch.clear();
    if let Some(content) = &request.content {
        STANDARD
            .decode_vec(content.as_ref(), scratch)
            .map_err(|_| MessageError("the content is not standard base64 with padding"))?;
    }
    Ok(match request.msg_type.unwrap_or(0) {
        0 => Request::Plain(scratch),
        1 => Request::Winch(parse_window_size(scratch)),
        _ => Request::Unknown,
    })
}

/// Reads a JSON object, and no array, which serde would take for one.
#[inline]
fn from_object<'a, T: serde::Deserialize<'a>>(
    message: &'a [u8],
    otherwise: &'static str,
) -> Result<T, MessageError> {
    if !message.trim_ascii_start().starts_with(b"{") {
        return Err(MessageError(otherwise));
    }
    serde_json::from_slice(message).map_err(|_| MessageError(otherwise))
}

/// Appends a JSON ResponseMessage as Go's encoder writes it: zero values left out, no spaces.
#[inline]
pub fn write_json(out: &mut Vec<u8>, kind: ResponseType, content: &[u8]) {
    out.push(b'{');
    if kind != ResponseType::Stdout {
        out.extend_from_slice(b"\"msgType\":");
        out.push(b'0' + kind as u8);
    }
    if !content.is_empty() {
        if kind != ResponseType::Stdout {
            out.push(b',');
        }
        out.extend_from_slice(b"\"content\":\"");
        let start = out.len();
        out.resize(start + content.len().div_ceil(3) * 4, 0);
        // The room is exact, so encoding cannot fail.
        let written = STANDARD.encode_slice(content, &mut out[start..]).unwrap_or(0);
        out.truncate(start + written);
        out.push(b'"');
    }
    out.push(b'}');
}

/// The exact length of what [`write_json`] appends, in bytes: its WebSocket header stands in front of it.
#[inline]
pub fn json_len(kind: ResponseType, content_bytes: usize) -> usize {
    let kind_bytes = if kind == ResponseType::Stdout { 0 } else { br#""msgType":0"#.len() };
    let content_field =
        if content_bytes == 0 { 0 } else { br#""content":"""#.len() + content_bytes.div_ceil(3) * 4 };
    let comma = usize::from(kind_bytes > 0 && content_field > 0);
    2 + kind_bytes + comma + content_field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_what_go_s_encoder_writes() {
        let table: [(ResponseType, &[u8], &str); 5] = [
            (ResponseType::Stdout, b"hi", r#"{"content":"aGk="}"#),
            (ResponseType::Stdout, b"", r#"{}"#),
            (ResponseType::Stderr, b"hi!", r#"{"msgType":1,"content":"aGkh"}"#),
            (ResponseType::Close, b"", r#"{"msgType":2}"#),
            (ResponseType::Ping, b"ping", r#"{"msgType":3,"content":"cGluZw=="}"#),
        ];
        for (kind, content, text) in table {
            let mut out = Vec::new();
            write_json(&mut out, kind, content);
            assert_eq!(String::from_utf8(out).unwrap(), text);
            assert_eq!(json_len(kind, content.len()), text.len());
        }
    }

    #[test]
    fn json_hello() {
        let hello = decode_json_hello(
            br#"{"access_token":"t","app_name":"a","proc_name":"p","instance_no":"1","extra":1}"#,
        )
        .unwrap();
        assert_eq!((hello.app.as_str(), hello.proc.as_str(), hello.instance.as_str()), ("a", "p", "1"));
        assert!(decode_json_hello(br#"{"app_name":1}"#).is_err());
        assert!(decode_json_hello(b"hello").is_err());
        assert!(decode_json_hello(br#"["t","a","p","1"]"#).is_err());
    }
}
