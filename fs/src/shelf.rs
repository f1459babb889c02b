//! What a request can get at without waiting: the chunks and manifest nodes it was given, and those that are cached.

use std::collections::HashMap;
use std::sync::Arc;

use ares_core::chunk::{ChunkId, VerifiedChunk};
use ares_core::manifest::{DirClaim, ListRef};
use bytes::Bytes;

use crate::cache::Cache;
use crate::view::{DirView, ListView, NodeError, Nodes};

/// A parsed node.
#[derive(Clone)]
pub(crate) enum Node {
    Dir(Arc<DirView>),
    List(Arc<ListView>),
}

/// What a request has been given so far.
#[derive(Default)]
pub(crate) struct Pins {
    pub(crate) chunks: HashMap<ChunkId, Bytes>,
    nodes: HashMap<ChunkId, Node>,
}

/// Parsed nodes and chunks that a step can get at: what the request was given, and what is cached.
pub(crate) struct Shelf<'a> {
    pub(crate) nodes: &'a mut Cache<ChunkId, Node>,
    pub(crate) chunks: &'a mut Cache<ChunkId, Bytes>,
    pub(crate) pins: &'a mut Pins,
}

impl Shelf<'_> {
    /// A chunk, if it is at hand.
    pub(crate) fn bytes(&mut self, id: &ChunkId) -> Option<Bytes> {
        self.pins.chunks.get(id).or_else(|| self.chunks.get(id)).cloned()
    }

    fn node(&mut self, id: &ChunkId) -> Option<Node> {
        self.pins.nodes.get(id).or_else(|| self.nodes.get(id)).cloned()
    }

    /// A node's chunk, to be parsed: from then on it is kept in that form only.
    fn verified(&mut self, id: ChunkId) -> Result<Option<VerifiedChunk>, NodeError> {
        let Some(bytes) = self.bytes(&id) else { return Ok(None) };
        self.chunks.remove(&id);
        Ok(Some(VerifiedChunk::verify(id, bytes)?))
    }

    fn keep(&mut self, id: ChunkId, node: Node, weight: u64) {
        self.pins.chunks.remove(&id);
        self.pins.nodes.insert(id, node.clone());
        self.nodes.insert(id, node, weight);
    }
}

impl Nodes for Shelf<'_> {
    fn dir(&mut self, claim: &DirClaim) -> Result<Option<Arc<DirView>>, NodeError> {
        let id = claim.node.node.id;
        if let Some(Node::Dir(view)) = self.node(&id)
            && view.satisfies(claim)
        {
            return Ok(Some(view));
        }
        let Some(chunk) = self.verified(id)? else { return Ok(None) };
        let view = Arc::new(DirView::parse(&chunk, claim)?);
        self.keep(id, Node::Dir(view.clone()), view.weight());
        Ok(Some(view))
    }

    fn list(&mut self, claim: &ListRef) -> Result<Option<Arc<ListView>>, NodeError> {
        let id = claim.node.id;
        if let Some(Node::List(view)) = self.node(&id)
            && view.satisfies(claim)
        {
            return Ok(Some(view));
        }
        let Some(chunk) = self.verified(id)? else { return Ok(None) };
        let view = Arc::new(ListView::parse(&chunk, claim)?);
        self.keep(id, Node::List(view.clone()), view.weight());
        Ok(Some(view))
    }
}
