//! A connection's socket, read and written without Python's transports.
//!
//! A transport makes an object of Python's of each reading, calls four functions with it and keeps what is to be written
//! until its loop comes round. Most of what a host reads needs nothing of Python's, so the core reads and writes itself, and
//! the transport, which keeps the same socket, has what is left: to wait for room, to end, to close.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use parking_lot::Mutex;

/// One reading brings so many bytes at most; as many as uvloop's.
const READING: usize = 256_000;

/// What one reading brought.
pub enum Brought<T> {
    /// Something, and what came of it.
    Bytes(T),
    /// Nothing yet.
    Nothing,
    /// The connection is at its end, or broken.
    End,
}

/// The socket of one connection, by a descriptor of its own. Whoever has the other one makes it wait for nothing
/// (`O_NONBLOCK`), for both.
pub struct Socket {
    stream: TcpStream,
    buffer: Mutex<Vec<u8>>,
}

impl Socket {
    /// The socket that the process knows by a number. Errors: there is none.
    #[cfg(unix)]
    pub fn of(number: i32) -> io::Result<Self> {
        Ok(Self {
            stream: crate::descriptor::own_copy(number)?.into(),
            buffer: Mutex::default(),
        })
    }

    /// Its own number, by which it can be watched.
    #[cfg(unix)]
    pub fn number(&self) -> i32 {
        use std::os::fd::AsRawFd;

        self.stream.as_raw_fd()
    }

    /// No sockets by numbers on this system.
    #[cfg(not(unix))]
    pub fn of(_: i32) -> io::Result<Self> {
        Err(ErrorKind::Unsupported.into())
    }

    #[cfg(not(unix))]
    pub fn number(&self) -> i32 {
        -1
    }

    /// Reads once. `take` may read again.
    pub fn read<T>(&self, take: impl FnOnce(&[u8]) -> T) -> Brought<T> {
        let mut buffer = std::mem::take(&mut *self.buffer.lock());
        buffer.resize(READING, 0);
        let brought = match (&self.stream).read(&mut buffer) {
            Ok(0) => Brought::End,
            Ok(size) => Brought::Bytes(take(&buffer[..size])),
            Err(err) => match err.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => Brought::Nothing,
                _ => Brought::End,
            },
        };
        *self.buffer.lock() = buffer;
        brought
    }

    /// Writes as much of `bytes` as there is room for; what is left. Of a broken connection reading tells.
    pub fn write<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let mut left = bytes;
        while !left.is_empty() {
            match (&self.stream).write(left) {
                Ok(0) => break,
                Ok(size) => left = &left[size..],
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        left
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (one, listener.accept().unwrap().0)
    }

    fn text(socket: &Socket) -> Option<String> {
        loop {
            match socket.read(|bytes| String::from_utf8(bytes.to_vec()).unwrap()) {
                Brought::Bytes(text) => return Some(text),
                Brought::Nothing => std::thread::yield_now(),
                Brought::End => return None,
            }
        }
    }

    #[test]
    fn it_reads_and_writes_what_the_other_descriptor_does_until_the_end() {
        let (near, mut far) = pair();
        near.set_nonblocking(true).unwrap();
        let socket = Socket::of(near.as_raw_fd()).unwrap();
        assert_ne!(socket.number(), near.as_raw_fd());
        assert!(matches!(socket.read(|_| ()), Brought::Nothing));
        far.write_all(b"there").unwrap();
        assert_eq!(text(&socket).as_deref(), Some("there"));
        drop(near); // the connection lives as long as one of both does
        assert!(socket.write(b"back").is_empty());
        let mut back = [0; 4];
        far.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"back");
        drop(far);
        assert_eq!(text(&socket), None);
    }

    #[test]
    fn what_there_is_no_room_for_is_left() {
        let (near, mut far) = pair();
        near.set_nonblocking(true).unwrap();
        let socket = Socket::of(near.as_raw_fd()).unwrap();
        let all: Vec<u8> = (0..32 << 20).map(|at| (at % 251) as u8).collect();
        let left = socket.write(&all).len();
        assert!(left > 0 && left < all.len());
        let mut there = vec![0; all.len() - left];
        far.read_exact(&mut there).unwrap();
        assert_eq!(there, all[..there.len()]);
    }

    #[test]
    fn a_number_of_nothing_is_refused() {
        assert!(Socket::of(-1).is_err());
        assert!(Socket::of(i32::MAX).is_err());
    }
}
