//! `HTTP_GET` and `SSL_GET`: pages that have to come with the right status and body.
//!
//! The connection is our own socket, so that every option of [`Target`] holds; hyper speaks HTTP/1 over it, h2
//! HTTP/2 where that was negotiated. Nothing is followed, nothing is kept alive: one attempt, one connection, one page.

mod body;
mod exchange;
mod page;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use tokio::net::TcpStream;

use crate::deadline::{Deadlines, Failure, Limits};
use crate::outcome::{Findings, Outcome};
use crate::target::Target;
use crate::tls::{Sni, Tls, expiry};

pub use body::{PATTERN_REACH, Pattern, PatternOptions, PatternUnusable, PatternWanted};
pub use page::{HostHeader, Md5Digest, Page, PageUnusable, RequestPath};

use exchange::{CloseNotify, Ended, JudgedEnd};

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HttpCheck {
    pub target: Target,
    pub deadlines: Deadlines,
    /// `Some` for `SSL_GET`.
    pub tls: Option<HttpTls>,
    pub version: HttpVersion,
    pub pages: Pages,
}

/// How an HTTP check uses TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HttpTls {
    pub tls: Tls,
    /// The name that the certificate has to be for and, with `sni`, that the server is told; `None` takes the host of
    /// the page.
    pub name: Option<Arc<str>>,
    pub sni: Sni,
}

/// What the request line says (`http_protocol`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum HttpVersion {
    /// `1.0`
    #[default]
    Http10,
    /// `1.0C`: with `Connection: close`.
    Http10Close,
    /// `1.1`, with `Connection: close`; HTTP/2 where TLS negotiates it.
    Http11,
}

/// At least one page.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Pages(Arc<[Page]>);

impl Pages {
    /// `None` without any page.
    pub fn new(pages: Vec<Page>) -> Option<Self> {
        (!pages.is_empty()).then(|| Self(pages.into()))
    }

    fn count(&self) -> NonZeroU32 {
        u32::try_from(self.0.len()).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
    }

    fn get(&self, part: u32) -> Option<&Page> {
        let part = usize::try_from(part).ok()?;
        self.0.get(part).or_else(|| self.0.first())
    }
}

impl From<Page> for Pages {
    fn from(page: Page) -> Self {
        Self(Arc::new([page]))
    }
}

/// Statuses that are good, as ranges. 200-299 unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StatusCodes(Arc<[(u16, u16)]>);

impl StatusCodes {
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&status))
    }
}

impl Default for StatusCodes {
    fn default() -> Self {
        Self(Arc::new([(200, 299)]))
    }
}

/// Both ends of each range belong to it.
impl FromIterator<(u16, u16)> for StatusCodes {
    fn from_iter<I: IntoIterator<Item = (u16, u16)>>(ranges: I) -> Self {
        Self(ranges.into_iter().collect())
    }
}

impl fmt::Display for StatusCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (low, high)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            match low == high {
                true => write!(f, "{comma}{low}")?,
                false => write!(f, "{comma}{low}-{high}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for StatusCodes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl HttpCheck {
    pub(crate) fn parts(&self) -> NonZeroU32 {
        self.pages.count()
    }

    pub(crate) async fn attempt(&self, part: u32) -> Outcome {
        let Some(page) = self.pages.get(part) else { return Outcome::Up(Findings::default()) };
        match self.fetch(page, &Limits::start(self.deadlines)).await {
            Ok(findings) => Outcome::Up(findings),
            Err(failure) => failure.into(),
        }
    }

    async fn fetch(&self, page: &Page, limits: &Limits) -> Result<Findings, Failure> {
        let stream = self.target.connect(limits).await?;
        match &self.tls {
            None => {
                exchange::http1(stream, page, self.version, limits).await?;
                Ok(Findings::default())
            }
            // More kilobytes, for which plain attempts have no use.
            Some(tls) => Box::pin(self.fetch_by_tls(tls, stream, page, limits)).await,
        }
    }

    async fn fetch_by_tls(
        &self,
        HttpTls { tls, name, sni }: &HttpTls,
        stream: TcpStream,
        page: &Page,
        limits: &Limits,
    ) -> Result<Findings, Failure> {
        let name = name.as_deref().unwrap_or_else(|| page.host.name());
        let stream = tls.handshake(stream, name, *sni, limits).await?;
        let findings = Findings { certificate: expiry(&stream), ..Findings::default() };
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            exchange::http2(stream, page, limits).await?;
            return Ok(findings);
        }
        let close_notify = if page.tls_compliant { CloseNotify::Required } else { CloseNotify::Optional };
        let judged = JudgedEnd { stream, close_notify };
        let Ended { stream } = exchange::http1(judged, page, self.version, limits).await?;
        if page.tls_compliant {
            exchange::read_to_end(stream, limits).await?;
        }
        Ok(findings)
    }
}
