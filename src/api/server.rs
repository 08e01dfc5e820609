//! The daemon's end of the control socket.

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use super::{Reply, Request};
use crate::supervisor::make_folder;

/// Longest request; a longer one is refused.
const MAX_REQUEST: u64 = 64 * 1024;
/// Connections at a time that ask or are answered; more wait in the listen queue.
const MAX_CLIENTS: usize = 32;
/// Connections besides those that follow events; more are refused.
const MAX_FOLLOWERS: usize = 32;
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

/// The control socket.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    bound: Mutex<Arc<Bound>>,
    bound_anew: Notify,
    calls: mpsc::Sender<Call>,
    followers: Arc<Semaphore>,
}

/// A listening socket. Removed from the file system when dropped.
#[derive(Debug)]
struct Bound {
    listener: UnixListener,
    path: PathBuf,
    place: (u64, u64),
}

/// Whether a control socket may be made at `path`: nothing is there, or a socket that nobody answers at.
pub fn vacant(path: &Path) -> Result<()> {
    let there = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        there => there.with_context(|| format!("cannot look at the control socket {}", path.display()))?,
    };
    if !there.file_type().is_socket() {
        bail!(
            "{} is there already and is no socket; name another control socket with --control",
            path.display()
        );
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => {
            bail!("another daemon answers at {}; give this one its own with --control", path.display())
        }
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot tell who answers at {}", path.display())),
    }
}

impl Bound {
    fn at(path: &Path) -> Result<Self> {
        if let Some(parent) = path.parent() {
            make_folder(parent).context("no folder for the control socket")?;
        }
        vacant(path)?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let message = format!("cannot replace the stale socket {}", path.display());
                return Err(error).context(message);
            }
            Ok(()) | Err(_) => {}
        }
        let listen = || -> std::io::Result<_> {
            let listener = UnixListener::bind(path)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
            Ok((listener, place(path)?))
        };
        let (listener, place) =
            listen().with_context(|| format!("cannot listen at the control socket {}", path.display()))?;
        Ok(Self { listener, path: path.to_owned(), place })
    }

    /// Clients find it under its path.
    fn is_there(&self) -> bool {
        place(&self.path).is_ok_and(|place| place == self.place)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if self.is_there() {
            // Nothing is lost if it is gone already.
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

fn place(path: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Server {
    /// Listens at `path`, readable for root and its group only. A socket that nobody answers is replaced.
    pub fn bind(path: &Path, calls: mpsc::Sender<Call>) -> Result<Self> {
        let bound = Mutex::new(Arc::new(Bound::at(path)?));
        let followers = Arc::new(Semaphore::new(MAX_FOLLOWERS));
        Ok(Self { path: path.to_owned(), bound, bound_anew: Notify::new(), calls, followers })
    }

    /// Listens anew if somebody removed or replaced the socket.
    pub fn heal(&self) {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if bound.is_there() {
            return;
        }
        let path = self.path.display();
        match Bound::at(&self.path) {
            Ok(anew) => {
                tracing::warn!(%path, "the control socket was removed or replaced by somebody; listening anew");
                *bound = Arc::new(anew);
                self.bound_anew.notify_one();
            }
            Err(error) => {
                tracing::error!(%path, error = format!("{error:#}"), "nobody can reach the control socket");
            }
        }
    }

    /// Serves until dropped.
    pub async fn run(&self) {
        let places = Arc::new(Semaphore::new(MAX_CLIENTS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let bound = Arc::clone(&self.bound.lock().unwrap_or_else(PoisonError::into_inner));
            let accepted = tokio::select! {
                accepted = bound.listener.accept() => accepted,
                () = self.bound_anew.notified() => continue,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (calls, followers) = (self.calls.clone(), Arc::clone(&self.followers));
                    tokio::spawn(async move {
                        if let Err(error) = serve(stream, calls, place, followers).await {
                            tracing::debug!(error = format!("{error:#}"), "control client");
                        }
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

/// `place` is one of the few for those that ask; a follower, who stays, gives it up for one of `followers`.
async fn serve(
    stream: UnixStream,
    calls: mpsc::Sender<Call>,
    place: OwnedSemaphorePermit,
    followers: Arc<Semaphore>,
) -> Result<()> {
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
    let _place = if follows {
        drop(place);
        let Ok(place) = followers.try_acquire_owned() else {
            let message = format!("{MAX_FOLLOWERS} clients follow the events already; end one of them");
            return write(&mut writer, &Reply::Refused { message }).await;
        };
        place
    } else {
        place
    };
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
