//! A connection's bytes: with TLS or without, and what was read too early.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::HEAD;
use super::coming::{comes, is_half_a_head, is_half_a_hello};
use super::open::Activity;
use crate::mapped::MAPPED_BYTES;

/// The bytes from which on what was read too early is worth a page.
const LEAST: usize = 1 << 10;

/// A socket, with TLS or without.
pub(super) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection between two requests, or while a request holds it.
pub struct Line {
    io: Io,
    /// The bytes that were read and not handled yet.
    unread: BytesMut,
    /// Notes whether the last write found no room: bytes may wait in a buffer above.
    activity: Arc<Activity>,
}

impl Line {
    pub(super) fn new(io: Io, activity: &Arc<Activity>) -> Self {
        Self {
            io,
            unread: BytesMut::new(),
            activity: Arc::clone(activity),
        }
    }

    /// Waits until the head of a request has come, or HTTP can refuse what has come. Returns `false` if the client goes
    /// before. Without TLS, what comes is not read.
    pub(super) async fn head_comes(&mut self) -> bool {
        if let Io::Plain(stream) = &self.io {
            return comes(stream, &self.unread, is_half_a_head).await;
        }
        while is_half_a_head(&self.unread) {
            let more = std::future::poll_fn(|context| self.poll_more(context)).await;
            if !matches!(more, Ok(1..)) {
                return false;
            }
        }
        true
    }

    /// Waits until the first TLS record of a connection has come. Returns `false` if the client goes before.
    pub(super) async fn hello_comes(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => comes(stream, &self.unread, is_half_a_hello).await,
            Io::Tls(_) => true,
        }
    }

    /// Reads more of a head, and keeps it. Returns the number of bytes.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [0; HEAD];
        let room = HEAD.saturating_sub(self.unread.len());
        let mut buffer = ReadBuf::new(&mut bytes[..room]);
        ready!(self.poll_io(context, &mut buffer))?;
        let read = buffer.filled();
        let needed = self.unread.len() + read.len();
        if needed > self.unread.capacity() {
            let mut all = buffer_for(needed);
            all.extend_from_slice(&self.unread);
            self.unread = all;
        }
        self.unread.extend_from_slice(read);
        Poll::Ready(Ok(read.len()))
    }

    fn poll_io(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }

    /// Notes whether the socket has taken what was written.
    fn noted<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.activity.set_blocked(polled.is_pending());
        polled
    }

    /// Returns the socket of a connection without TLS.
    pub(super) fn into_plain(self) -> Option<TcpStream> {
        match self.io {
            Io::Plain(stream) => Some(stream),
            Io::Tls(_) => None,
        }
    }

    /// Puts bytes that were read too early back. Returns `None` if an earlier answer has not left
    /// completely: its client sent another request before it read the answer.
    pub(super) fn with_unread(mut self, read: &[u8]) -> Option<Self> {
        if !read.is_empty() {
            let mut all = buffer_for(read.len() + self.unread.len());
            all.extend_from_slice(read);
            all.extend_from_slice(&self.unread);
            self.unread = all;
        }
        (!self.activity.is_blocked()).then_some(self)
    }

    /// Waits until the client sends something, or goes. Returns whether it has gone. What it sends is
    /// kept for the next request.
    pub async fn stirs(&mut self) -> bool {
        std::future::poll_fn(|context| self.poll_stirs(context)).await
    }

    /// Does one step of [`stirs`](Self::stirs).
    pub fn poll_stirs(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if !self.unread.is_empty() {
            return Poll::Pending;
        }
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let read = Pin::new(&mut *self).poll_read(context, &mut buffer);
        let read = ready!(read);
        if read.is_err() || buffer.filled().is_empty() {
            return Poll::Ready(true);
        }
        self.unread = buffer.filled().into();
        Poll::Ready(false)
    }

    /// Writes as much to the client as its socket takes at once. Returns the number of these bytes; `None` with TLS,
    /// where nothing is written: what TLS takes has not left.
    ///
    /// # Errors
    /// The client has gone.
    pub async fn begin(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        if matches!(self.io, Io::Tls(_)) {
            return Ok(None);
        }
        let mut sent = 0;
        std::future::poll_fn(|context| {
            while sent < bytes.len() {
                match Pin::new(&mut *self).poll_write(context, &bytes[sent..]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(count)) => sent += count,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break,
                }
            }
            Poll::Ready(Ok(Some(sent)))
        })
        .await
    }

    /// Writes bytes to the client.
    ///
    /// # Errors
    /// The client has gone.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes).await?;
        self.flush().await
    }

    /// Ends the connection in order.
    pub async fn end(mut self) {
        let _ = self.shutdown().await;
    }
}

/// Makes a buffer for this many bytes, which may wait for long. It is mapped if it is worth a page: of thousands of small
/// ones, free blocks between others would stay in the process.
fn buffer_for(bytes: usize) -> BytesMut {
    let least = if bytes < LEAST { 0 } else { MAPPED_BYTES };
    BytesMut::with_capacity(bytes.max(least))
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let count = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread[..count]);
            self.unread.advance(count);
            if self.unread.is_empty() {
                self.unread = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        self.poll_io(context, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        self.noted(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        };
        self.noted(polled)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(context),
            Io::Tls(stream) => Pin::new(stream).poll_flush(context),
        };
        self.noted(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        };
        self.noted(polled)
    }
}
