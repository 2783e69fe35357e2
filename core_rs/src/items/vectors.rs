//! placeholder until the fold keeps vectors
use crate::bitmap::Bitmap;
use crate::embedding::store::PackedVectors;
use crate::ids::ItemIx;
/// p
pub struct ItemVectors {
    store: PackedVectors,
    present: Bitmap,
}
#[allow(missing_docs)]
impl ItemVectors {
    pub fn store(&self) -> &PackedVectors {
        &self.store
    }
    pub fn present(&self) -> &Bitmap {
        &self.present
    }
    pub fn dim(&self) -> usize {
        self.store.dim()
    }
    pub fn has(&self, i: ItemIx) -> bool {
        self.present.get(i.0 as usize)
    }
    pub fn cosine(&self, _: ItemIx, _: ItemIx) -> f64 {
        0.0
    }
}
