//! What the conventions want to know about a request, each from a closed set.

use http::{HeaderMap, Method, Uri, Version};

/// A method that OpenTelemetry's conventions know, or `_OTHER`.
pub(super) fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "CONNECT" => "CONNECT",
        "DELETE" => "DELETE",
        "GET" => "GET",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        "POST" => "POST",
        "PUT" => "PUT",
        "QUERY" => "QUERY",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}

/// The scheme that the client used: as a proxy says, else as the request says, else `http`.
pub(super) fn scheme(headers: &HeaderMap, uri: &Uri) -> &'static str {
    let forwarded = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    [forwarded, uri.scheme_str()].into_iter().flatten().find_map(known_scheme).unwrap_or("http")
}

fn known_scheme(scheme: &str) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|known| known.eq_ignore_ascii_case(scheme.trim()))
}

/// As the conventions write it: `1.1`, but `2`.
pub(super) fn protocol_version(version: Version) -> Option<&'static str> {
    Some(match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_those_of_the_conventions_and_case_matters() {
        for known in [
            "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE",
        ] {
            assert_eq!(method(&known.parse().unwrap()), known);
        }
        for unknown in ["get", "PROPFIND", "X"] {
            assert_eq!(method(&unknown.parse().unwrap()), "_OTHER");
        }
    }

    #[test]
    fn a_scheme_is_http_or_https_whoever_says_what() {
        let scheme_of = |forwarded: Option<&str>, uri: &str| {
            let mut headers = HeaderMap::new();
            if let Some(forwarded) = forwarded {
                headers.insert("x-forwarded-proto", forwarded.parse().unwrap());
            }
            scheme(&headers, &uri.parse().unwrap())
        };
        assert_eq!(scheme_of(None, "/"), "http");
        assert_eq!(scheme_of(None, "https://example.org/"), "https");
        assert_eq!(scheme_of(Some("HTTPS"), "/"), "https");
        assert_eq!(scheme_of(Some("gopher"), "/"), "http");
        assert_eq!(scheme_of(Some("gopher"), "https://example.org/"), "https");
    }
}
