//! One request and its response over a connection that stands.

use std::error::Error;
use std::future::pending;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request, Response, Uri, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1 as hyper1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::HttpVersion;
use super::body::BodyTest;
use super::page::Page;
use crate::deadline::Limits;
use crate::outcome::{Cause, Reason, Step, TlsFault};
use crate::tls::fault;

/// What keepalived sends: servers may keep such requests out of their logs by this name.
const AGENT: HeaderValue = HeaderValue::from_static("KeepAliveClient");

/// Room for the head of a response, in bytes.
const HEAD: usize = 64 << 10;

/// The connection after an exchange; `None` where nobody looks at its end.
pub(super) struct Ended<S> {
    pub(super) stream: Option<S>,
}

/// HTTP/1.0 or 1.1.
pub(super) async fn http1<S>(
    stream: S,
    page: &Page,
    version: HttpVersion,
    limits: &Limits,
) -> Result<Ended<S>, Reason>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = hyper1::Builder::new()
        .title_case_headers(true)
        .max_buf_size(HEAD)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await;
    let (mut sender, connection) = handshake.map_err(|e| http1_failure(Step::Request, &e))?;
    let mut connection = pin!(connection.without_shutdown());
    let exchange = async move {
        let response = limits.step(Step::ResponseHead, sender.send_request(request1(page, version))).await?;
        let response = response.map_err(|e| http1_failure(Step::ResponseHead, &e))?;
        judge1(response, page, limits).await
    };
    let mut left = None;
    {
        // The connection moves only when it is polled; its end need not be that of the exchange.
        let drive = async {
            left = Some(connection.as_mut().await);
            pending::<()>().await;
        };
        tokio::select! {
            biased;
            judged = exchange => judged?,
            () = drive => {}
        }
    }
    if !page.tls_compliant {
        return Ok(Ended { stream: None });
    }
    let left = match left {
        Some(left) => left,
        None => limits.step(Step::TlsClose, connection).await?,
    };
    let parts = left.map_err(|e| http1_failure(Step::TlsClose, &e))?;
    Ok(Ended { stream: Some(parts.io.into_inner()) })
}

fn request1(page: &Page, version: HttpVersion) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = Uri::from(page.path.get());
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, AGENT);
    if version != HttpVersion::Http10 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers.insert(HOST, page.host.header());
    *request.version_mut() = match version {
        HttpVersion::Http10 | HttpVersion::Http10Close => Version::HTTP_10,
        HttpVersion::Http11 => Version::HTTP_11,
    };
    request
}

async fn judge1(response: Response<Incoming>, page: &Page, limits: &Limits) -> Result<(), Reason> {
    judge_status(response.status().as_u16(), page)?;
    let mut body = response.into_body();
    let mut test = BodyTest::new(page);
    while let Some(frame) = limits.step(Step::ResponseBody, body.frame()).await? {
        let frame = frame.map_err(|e| http1_failure(Step::ResponseBody, &e))?;
        if let Some(piece) = frame.data_ref() {
            test.feed(piece)?;
        }
    }
    test.finish()
}

fn judge_status(got: u16, page: &Page) -> Result<(), Reason> {
    match page.status.contains(got) {
        true => Ok(()),
        false => Err(Reason::Status { got, expected: page.status.clone() }),
    }
}

fn http1_failure(step: Step, error: &hyper::Error) -> Reason {
    if let Some(io) = io_source(error) {
        return match io.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => bad_data(step, io),
            _ => Reason::of_io(step, io),
        };
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return Reason::Closed { step };
    }
    Reason::HttpProtocol { step, cause: Cause::of(error) }
}

/// The chunk decoder, TLS and [`JudgedEnd`] all speak of invalid data.
fn bad_data(step: Step, error: &io::Error) -> Reason {
    let inner = error.get_ref();
    if inner.is_some_and(|e| e.is::<Unannounced>()) {
        return Reason::Tls(TlsFault::NoCloseNotify);
    }
    match inner.and_then(|e| e.downcast_ref::<rustls::Error>()) {
        Some(tls) => Reason::Tls(fault("", tls)),
        None => Reason::HttpProtocol { step, cause: Cause::of(error) },
    }
}

fn io_source<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref() {
            return Some(io);
        }
        source = error.source();
    }
    None
}

/// HTTP/2 over TLS. Everything that the connection needs runs inside this future, so nothing outlives it.
pub(super) async fn http2(stream: TlsStream<TcpStream>, page: &Page, limits: &Limits) -> Result<(), Reason> {
    let head = u32::try_from(HEAD).unwrap_or(u32::MAX);
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false).max_header_list_size(head);
    let handshake = limits.step(Step::Request, builder.handshake::<_, Bytes>(stream)).await?;
    let (sender, connection) = handshake.map_err(|e| http2_failure(Step::Request, &e))?;
    let exchange = exchange2(sender, page, limits);
    let drive = async {
        // What it ends with the exchange hears as well.
        if let Err(_told_to_the_stream) = connection.await {}
        pending::<()>().await;
    };
    tokio::select! {
        biased;
        judged = exchange => judged,
        () = drive => Ok(()),
    }
}

async fn exchange2(
    sender: h2::client::SendRequest<Bytes>,
    page: &Page,
    limits: &Limits,
) -> Result<(), Reason> {
    let failed = |step| move |error: h2::Error| http2_failure(step, &error);
    let mut sender = limits.step(Step::Request, sender.ready()).await?.map_err(failed(Step::Request))?;
    let (response, _) = sender.send_request(request2(page)?, true).map_err(failed(Step::Request))?;
    let response = limits.step(Step::ResponseHead, response).await?.map_err(failed(Step::ResponseHead))?;
    judge_status(response.status().as_u16(), page)?;
    let mut body = response.into_body();
    let mut test = BodyTest::new(page);
    while let Some(piece) = limits.step(Step::ResponseBody, body.data()).await? {
        let piece = piece.map_err(failed(Step::ResponseBody))?;
        test.feed(&piece)?;
        // Gives back what the window lent; fails only on a stream that is over.
        body.flow_control().release_capacity(piece.len()).map_err(failed(Step::ResponseBody))?;
    }
    test.finish()
}

fn request2(page: &Page) -> Result<Request<()>, Reason> {
    let uri = Uri::builder()
        .scheme("https")
        .authority(page.host.authority())
        .path_and_query(page.path.get())
        .build();
    let request = uri.and_then(|uri| {
        Request::builder().uri(uri).version(Version::HTTP_2).header(USER_AGENT, AGENT).body(())
    });
    request.map_err(|e| Reason::HttpProtocol { step: Step::Request, cause: Cause::of(&e) })
}

fn http2_failure(step: Step, error: &h2::Error) -> Reason {
    match error.get_io() {
        Some(io) => Reason::of_io(step, io),
        None => Reason::HttpProtocol { step, cause: Cause::of(error) },
    }
}

/// Reads to the end of a connection; what still comes means nothing.
pub(super) async fn read_to_end(
    stream: Option<impl AsyncRead + Unpin>,
    limits: &Limits,
) -> Result<(), Reason> {
    let Some(mut stream) = stream else { return Ok(()) };
    let mut rest = [0; 1024];
    loop {
        match limits.step(Step::TlsClose, stream.read(&mut rest)).await? {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(bad_data(Step::TlsClose, &error));
            }
            Err(error) => return Err(Reason::of_io(Step::TlsClose, &error)),
        }
    }
}

/// Whether a TLS connection has to announce its end (RFC 8446 §6.1), which many servers leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseNotify {
    Optional,
    /// `tls_compliant`
    Required,
}

/// A TLS connection whose end is judged.
#[derive(Debug)]
pub(super) struct JudgedEnd<S> {
    pub(super) stream: S,
    pub(super) close_notify: CloseNotify,
}

/// The error of a connection that ended unannounced.
#[derive(Debug, thiserror::Error)]
#[error("TLS connection ended without close notification")]
struct Unannounced;

impl<S: AsyncRead + Unpin> AsyncRead for JudgedEnd<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(match self.close_notify {
                    CloseNotify::Optional => Ok(()),
                    CloseNotify::Required => Err(io::Error::new(io::ErrorKind::InvalidData, Unannounced)),
                })
            }
            polled => polled,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for JudgedEnd<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
