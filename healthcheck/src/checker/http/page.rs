//! One page: what is asked for and what has to come back.

use std::fmt;
use std::str::FromStr;

use http::HeaderValue;
use http::uri::{Authority, PathAndQuery};
use serde::{Serialize, Serializer};
use thiserror::Error;

use super::StatusCodes;
use super::body::Pattern;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Page {
    /// `virtualhost`, else the address always followed by the port.
    pub host: HostHeader,
    pub path: RequestPath,
    /// `status_code`
    pub status: StatusCodes,
    /// `digest`: MD5 of the body after transfer decoding.
    pub digest: Option<Md5Digest>,
    /// `regex` with its options
    pub pattern: Option<Pattern>,
    /// A TLS connection has to end with a close notification, which is waited for.
    pub tls_compliant: bool,
    /// A longer body is a failure, in bytes.
    pub body_limit: u64,
}

/// Far more than a page made for checking has; an endless one ends here.
const BODY_LIMIT: u64 = 16 << 20;

impl Page {
    /// A page of which only the status is tested.
    pub fn new(host: HostHeader, path: RequestPath) -> Self {
        Self {
            host,
            path,
            status: StatusCodes::default(),
            digest: None,
            pattern: None,
            tls_compliant: false,
            body_limit: BODY_LIMIT,
        }
    }
}

/// Why a word cannot stand in a request or a test of its answer.
#[derive(Debug, Error)]
pub enum PageUnusable {
    #[error("{0:?} cannot be a host")]
    Host(String),
    #[error("{0:?} cannot be the path of a request")]
    Path(String),
    #[error("{0:?} is not an MD5 digest of 32 hexadecimal digits")]
    Digest(String),
}

/// The value of the `Host` header, sent as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostHeader {
    header: HeaderValue,
    authority: Authority,
}

impl HostHeader {
    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    pub(super) fn authority(&self) -> Authority {
        self.authority.clone()
    }

    /// Without the port.
    pub(super) fn name(&self) -> &str {
        self.authority.host()
    }
}

impl FromStr for HostHeader {
    type Err = PageUnusable;

    fn from_str(text: &str) -> Result<Self, PageUnusable> {
        let header = HeaderValue::from_str(text).ok();
        let authority = Authority::from_str(text).ok();
        match (header, authority) {
            (Some(header), Some(authority)) => Ok(Self { header, authority }),
            _ => Err(PageUnusable::Host(text.to_owned())),
        }
    }
}

impl From<std::net::SocketAddr> for HostHeader {
    /// As keepalived: IPv6 in brackets, the port also when it is the usual one. Without the scope, which means nothing
    /// to the server.
    fn from(address: std::net::SocketAddr) -> Self {
        let text = std::net::SocketAddr::new(address.ip(), address.port()).to_string();
        text.parse().unwrap_or_else(|_| Self {
            header: HeaderValue::from_static("localhost"),
            authority: Authority::from_static("localhost"),
        })
    }
}

impl Serialize for HostHeader {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.authority)
    }
}

/// The target of a request: path and query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestPath(PathAndQuery);

impl RequestPath {
    pub(super) fn get(&self) -> PathAndQuery {
        self.0.clone()
    }
}

impl FromStr for RequestPath {
    type Err = PageUnusable;

    fn from_str(text: &str) -> Result<Self, PageUnusable> {
        let path = PathAndQuery::from_str(text).ok().filter(|path| path.path().starts_with('/'));
        path.map(Self).ok_or_else(|| PageUnusable::Path(text.to_owned()))
    }
}

impl Serialize for RequestPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// As `genhash` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Md5Digest(pub [u8; 16]);

impl FromStr for Md5Digest {
    type Err = PageUnusable;

    fn from_str(text: &str) -> Result<Self, PageUnusable> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| digits);
        number.map(|n| Self(n.to_be_bytes())).ok_or_else(|| PageUnusable::Digest(text.to_owned()))
    }
}

impl fmt::Display for Md5Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl Serialize for Md5Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_as_host_has_brackets_and_always_its_port() {
        let host = |text: &str| HostHeader::from(text.parse::<std::net::SocketAddr>().unwrap()).header();
        assert_eq!(host("10.0.0.1:80"), "10.0.0.1:80");
        assert_eq!(host("[fe80::1%3]:443"), "[fe80::1]:443");
    }

    #[test]
    fn words_that_would_break_the_request_are_refused() {
        assert!("a b".parse::<HostHeader>().is_err());
        assert!("a\r\nX: y".parse::<HostHeader>().is_err());
        for path in ["", "x", "/a b", "/\r\n", "http://x/"] {
            assert!(path.parse::<RequestPath>().is_err(), "{path:?}");
        }
        assert!("/a?b=c%20d".parse::<RequestPath>().is_ok());
    }

    #[test]
    fn digest_is_exactly_32_digits() {
        let text = "d41d8cd98f00b204e9800998ecf8427e";
        assert_eq!(text.parse::<Md5Digest>().unwrap().to_string(), text);
        for bad in ["", "d41d", "+41d8cd98f00b204e9800998ecf8427e", &format!("{text}0")] {
            assert!(bad.parse::<Md5Digest>().is_err(), "{bad:?}");
        }
    }
}
