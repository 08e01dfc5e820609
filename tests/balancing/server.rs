//! Real servers: programs that answer over TCP, HTTP and UDP with their name, and agents that say how they fare.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use buoy::lab::Host;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::oneshot;

use crate::world::BODY;

/// Of every server, and of every virtual server that does not translate ports.
pub(crate) const PORT: u16 = 7000;

/// Where the agent of a server is asked.
pub(crate) const AGENT_PORT: u16 = 7001;

/// A host behind the director, and the program on it.
///
/// A line of text is answered by the name and the line, as often as one comes; a GET by a page that begins with the
/// name; a datagram by the name and the datagram. Its agent says to everybody what it was told to say.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) host: Host,
    pub(crate) address: IpAddr,
    pub(crate) address6: IpAddr,
    /// Where datagrams are awaited: each is answered from where it was sent to.
    pub(crate) addresses: Vec<IpAddr>,
    page: Arc<Mutex<Page>>,
    agent: Arc<Mutex<String>>,
    program: Option<Running>,
}

/// What a GET is answered with.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) body: String,
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    /// A server whose program does not run yet.
    pub(crate) fn new(name: &str, host: Host, address: IpAddr, address6: IpAddr) -> Self {
        let page = Page { status: 200, body: BODY.to_owned() };
        Self {
            name: name.to_owned(),
            host,
            address,
            address6,
            addresses: vec![address, address6],
            page: Arc::new(Mutex::new(page)),
            agent: Arc::new(Mutex::new("up 100%".to_owned())),
            program: None,
        }
    }

    /// Starts the program; when this returns it answers.
    pub(crate) fn start(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let (ready, listening) = std::sync::mpsc::sync_channel(1);
        let (page, agent) = (Arc::clone(&self.page), Arc::clone(&self.agent));
        let work = Work { name: self.name.as_str().into(), page, agent };
        let addresses = self.addresses.clone();
        // A thread is in the namespace of the thread that made it.
        let thread = self.host.run(move || {
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
                runtime.expect("a runtime").block_on(async {
                    work.listen(&addresses).await;
                    ready.send(()).expect("the starter waits");
                    // Its end, or the value that was to bring it is gone: both end the program.
                    stopped.await.unwrap_or_default();
                });
            })
        });
        listening.recv().expect("the ports of a server are free");
        self.program = Some(Running { stop, thread });
    }

    /// Ends the program at once, as `kill -9` does: its connections are cut, its ports refuse.
    pub(crate) fn kill(&mut self) {
        if let Some(running) = self.program.take() {
            drop(running.stop);
            running.thread.join().expect("a server does not panic");
        }
    }

    /// Changes what a GET is answered with.
    pub(crate) fn serve(&self, status: u16, body: &str) {
        let page = Page { status, body: body.to_owned() };
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = page;
    }

    /// Changes what its agent says; without a word it closes the connection.
    pub(crate) fn say(&self, line: &str) {
        line.clone_into(&mut self.agent.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Clone)]
struct Work {
    name: Arc<str>,
    page: Arc<Mutex<Page>>,
    agent: Arc<Mutex<String>>,
}

impl Work {
    async fn listen(&self, addresses: &[IpAddr]) {
        // For both families.
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)).await.expect("a port for TCP");
        let agent =
            TcpListener::bind((Ipv6Addr::UNSPECIFIED, AGENT_PORT)).await.expect("a port for the agent");
        tokio::spawn(self.clone().report(agent));
        let work = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let work = work.clone();
                tokio::spawn(async move {
                    // A client that goes away ends its connection; it will not miss the answer.
                    work.talk(stream).await.unwrap_or_default();
                });
            }
        });
        for address in addresses {
            let socket = UdpSocket::bind((*address, PORT)).await.expect("a port for UDP");
            tokio::spawn(self.clone().answer(socket));
        }
    }

    async fn report(self, listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let line = self.agent.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let line = if line.is_empty() { line } else { line + "\n" };
            // Whoever asks may have gone.
            stream.write_all(line.as_bytes()).await.unwrap_or_default();
        }
    }

    async fn talk(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 {
            if line.starts_with("GET ") {
                // The rest of the request; closing over unread bytes would be a reset.
                while stream.read_line(&mut line).await? > 2 {}
                let page = self.page.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let body = page.body;
                let answer = format!(
                    "HTTP/1.1 {} As Told\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    page.status,
                    body.len(),
                );
                stream.write_all(answer.as_bytes()).await?;
                return stream.shutdown().await;
            }
            let answer = format!("{} {line}", self.name);
            stream.write_all(answer.as_bytes()).await?;
            line.clear();
        }
        Ok(())
    }

    async fn answer(self, socket: UdpSocket) {
        let mut buffer = vec![0; 0x1_0000];
        loop {
            // An error is an ICMP message about an earlier answer.
            if let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                self.reply(&socket, buffer.get(..len).unwrap_or_default(), from).await;
            }
        }
    }

    async fn reply(&self, socket: &UdpSocket, question: &[u8], to: SocketAddr) {
        let answer = [self.name.as_bytes(), b" ", question].concat();
        // Lost, as datagrams may be.
        socket.send_to(&answer, to).await.unwrap_or_default();
    }
}
