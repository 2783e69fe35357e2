//! Memory of numpy arrays as slices, without a copy. The Python side has checked dtype, shape and order; what is checked
//! here keeps a mistake there from reading or writing what it must not.

use pyo3::buffer::{Element, PyBuffer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Borrowed memory of a contiguous array of `T`.
pub struct Array<T: Element>(PyBuffer<T>);

impl<T: Element> Array<T> {
    /// The elements. The exporter keeps them where they are while `self` lives.
    pub fn as_slice(&self) -> &[T] {
        if self.0.item_count() == 0 {
            return &[];
        }
        // SAFETY: contiguous memory of that many elements, aligned (both checked when the array came in) and held by the
        // buffer. A caller that writes to an array while it is being read gets wrong numbers, as with numpy itself: every
        // bit pattern is a valid `T`.
        unsafe { std::slice::from_raw_parts(self.0.buf_ptr().cast(), self.0.item_count()) }
    }
}

/// Borrowed memory of a contiguous array that may be written to.
pub struct ArrayMut<T: Element>(PyBuffer<T>);

impl<T: Element> ArrayMut<T> {
    /// The elements, to write to.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        if self.0.item_count() == 0 {
            return &mut [];
        }
        // SAFETY: as for `Array`; writable was checked when the array came in. The Python side makes such an array for
        // one call, so nobody else holds it.
        unsafe { std::slice::from_raw_parts_mut(self.0.buf_ptr().cast(), self.0.item_count()) }
    }
}

fn contiguous<T: Element>(ob: &Bound<'_, PyAny>) -> PyResult<PyBuffer<T>> {
    let buffer = PyBuffer::<T>::get(ob)?;
    if !buffer.is_c_contiguous() || !buffer.buf_ptr().cast::<T>().is_aligned() {
        return Err(PyValueError::new_err(
            "the array is not C-contiguous and aligned: numpy.ascontiguousarray makes it so",
        ));
    }
    Ok(buffer)
}

impl<'a, 'py, T: Element> FromPyObject<'a, 'py> for Array<T> {
    type Error = PyErr;

    fn extract(ob: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        contiguous(&ob).map(Self)
    }
}

impl<'a, 'py, T: Element> FromPyObject<'a, 'py> for ArrayMut<T> {
    type Error = PyErr;

    fn extract(ob: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let buffer = contiguous(&ob)?;
        if buffer.readonly() {
            return Err(PyValueError::new_err("the array is read-only"));
        }
        Ok(Self(buffer))
    }
}
