//! A service as the rules know it: its number, and what a request to it begins with.

use crate::wire::http::write_request;

/// A service that rules ask. How it is reached, the driver knows by its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The driver's number for it.
    pub id: usize,
    /// The `Host` header.
    pub authority: String,
    /// The path of its URL, with the query, if it has one.
    pub path: String,
}

impl Service {
    /// A request for `path`, which is appended to the service's own.
    pub(super) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut request = Vec::new();
        let target = format!("{}{path}", self.path.trim_end_matches('/'));
        write_request(&mut request, "GET", &target, &self.authority, headers, None);
        request
    }

    /// The very resource of the service's URL.
    pub(super) fn get_itself(&self) -> Vec<u8> {
        let mut request = Vec::new();
        write_request(
            &mut request,
            "GET",
            &self.path,
            &self.authority,
            &[("Accept", "application/json")],
            None,
        );
        request
    }

    /// JSON posted to the service's URL.
    pub(super) fn post(&self, body: &[u8]) -> Vec<u8> {
        let mut request = Vec::new();
        write_request(
            &mut request,
            "POST",
            &self.path,
            &self.authority,
            &[("Accept", "application/json")],
            Some(body),
        );
        request
    }
}
