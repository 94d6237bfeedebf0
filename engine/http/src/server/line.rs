//! A connection's bytes: with TLS or without, and what was read too early.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A socket, with TLS or without.
pub(super) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection between two requests, or while a request holds it.
pub struct Line {
    io: Io,
    /// The bytes that were read and not handled yet.
    unread: Bytes,
    /// Whether the last write found no room: bytes may wait in a buffer above.
    is_blocked: bool,
}

impl Line {
    pub(super) const fn new(io: Io) -> Self {
        Self {
            io,
            unread: Bytes::new(),
            is_blocked: false,
        }
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
    pub(super) fn with_unread(mut self, read: Bytes) -> Option<Self> {
        if !read.is_empty() {
            let mut all = Vec::from(read);
            all.extend_from_slice(&self.unread);
            self.unread = all.into();
        }
        (!self.is_blocked).then_some(self)
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
        let read = std::task::ready!(read);
        if read.is_err() || buffer.filled().is_empty() {
            return Poll::Ready(true);
        }
        self.unread = Bytes::copy_from_slice(buffer.filled());
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
            return Poll::Ready(Ok(()));
        }
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
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
        self.is_blocked = polled.is_pending();
        polled
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
        self.is_blocked = polled.is_pending();
        polled
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(context),
            Io::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
