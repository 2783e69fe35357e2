//! Open files that the process knows by a number.

use std::io;

/// A descriptor of one's own for the file behind a number; whoever has the other one may close it. Errors: there is no such
/// file.
#[cfg(unix)]
pub fn own_copy(number: i32) -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::BorrowedFd;

    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is borrowed for this line, and a number that is no descriptor's is refused by the system.
    unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned()
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_copy_outlives_the_other_descriptor() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut copy = File::from(own_copy(writer.as_raw_fd()).unwrap());
        drop(writer);
        copy.write_all(b"still").unwrap();
        drop(copy);
        let mut brought = String::new();
        reader.read_to_string(&mut brought).unwrap();
        assert_eq!(brought, "still");
    }

    #[test]
    fn numbers_of_no_file_are_refused() {
        for number in [-1, i32::MIN, i32::MAX] {
            assert!(own_copy(number).is_err(), "{number}");
        }
    }
}
