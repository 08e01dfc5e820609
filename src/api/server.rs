//! The daemon's end of the control socket.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};

use super::{Reply, Request};
use crate::supervisor::make_folder;

/// Longest request; a longer one is refused.
const MAX_REQUEST: u64 = 64 * 1024;
/// Connections at a time; more wait in the listen queue.
const MAX_CLIENTS: usize = 32;
/// Time for a client to send its request, and to read each answer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);
/// Answers on their way to one client; a follower that does not read holds up only itself.
const REPLIES: usize = 64;

/// A request with the way back. Dropping the sender ends the connection.
#[derive(Debug)]
pub struct Call {
    pub request: Request,
    pub replies: mpsc::Sender<Reply>,
}

/// The listening socket. Removed from the file system when dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    calls: mpsc::Sender<Call>,
}

impl Server {
    /// Listens at `path`, readable for root and its group only. A socket that nobody answers is replaced.
    pub fn bind(path: &Path, calls: mpsc::Sender<Call>) -> Result<Self> {
        if let Some(parent) = path.parent() {
            make_folder(parent).context("no folder for the control socket")?;
        }
        if path.exists() {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                bail!("another daemon answers at {}; give this one its own with --control", path.display());
            }
            std::fs::remove_file(path)
                .with_context(|| format!("cannot replace the stale socket {}", path.display()))?;
        }
        let listener = UnixListener::bind(path)
            .with_context(|| format!("cannot listen at the control socket {}", path.display()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        Ok(Self { listener, path: path.to_owned(), calls })
    }

    /// Serves until dropped.
    pub async fn run(&self) {
        let places = Arc::new(Semaphore::new(MAX_CLIENTS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let calls = self.calls.clone();
                    tokio::spawn(async move {
                        if let Err(error) = serve(stream, calls).await {
                            tracing::debug!(error = format!("{error:#}"), "control client");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of descriptors, say: try again when something has been closed.
                    tracing::warn!(%error, "control socket cannot accept");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is lost if it is gone already.
        let _gone = std::fs::remove_file(&self.path);
    }
}

async fn serve(stream: UnixStream, calls: mpsc::Sender<Call>) -> Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader.take(MAX_REQUEST));
    let mut line = String::new();
    tokio::time::timeout(CLIENT_PATIENCE, reader.read_line(&mut line)).await.context("no request")??;
    let request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => {
            let message = format!("not a request: {error}");
            return write(&mut writer, &Reply::Refused { message }).await;
        }
    };
    let follows = matches!(request, Request::Events { follow: true, .. });
    let (replies, mut answers) = mpsc::channel(REPLIES);
    calls.send(Call { request, replies }).await.context("the daemon is stopping")?;
    let mut rest = Vec::new();
    loop {
        tokio::select! {
            answer = answers.recv() => match answer {
                Some(reply) => write(&mut writer, &reply).await?,
                None => return Ok(()),
            },
            // A follower that closes has gone. Others may close their writing half and still wait for the answer.
            read = reader.read_buf(&mut rest), if follows => {
                rest.clear();
                if read? == 0 {
                    return Ok(());
                }
            }
        }
    }
}

async fn write(writer: &mut tokio::net::unix::OwnedWriteHalf, reply: &Reply) -> Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    tokio::time::timeout(CLIENT_PATIENCE, writer.write_all(&line))
        .await
        .context("the client does not read")??;
    Ok(())
}
