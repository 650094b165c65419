//! What the hardware of an interface does for the kernel, by the words of ifconfig(8).

/// One thing that it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offload {
    /// Checksums of what comes.
    RxChecksum,
    /// Checksums of what goes.
    TxChecksum,
    /// TCP segments. Linux has it only with the checksums of what goes.
    Segmentation,
    /// VLAN tags, both ways.
    Vlan,
    /// Segments put together.
    Lro,
}

/// The words of ifconfig(8), without the `-` that switches off. Linux switches both families at once.
const WORDS: [(&str, Offload); 9] = [
    ("rxcsum", Offload::RxChecksum),
    ("rxcsum6", Offload::RxChecksum),
    ("txcsum", Offload::TxChecksum),
    ("txcsum6", Offload::TxChecksum),
    ("tso", Offload::Segmentation),
    ("tso4", Offload::Segmentation),
    ("tso6", Offload::Segmentation),
    ("vlanhwtag", Offload::Vlan),
    ("lro", Offload::Lro),
];

impl Offload {
    /// What `word` switches, and whether it is on then: `-tso`, `txcsum`.
    #[must_use]
    pub fn of_word(word: &str) -> Option<(Self, bool)> {
        let (name, on) = word
            .strip_prefix('-')
            .map_or((word, true), |name| (name, false));
        let (_, offload) = WORDS.iter().find(|(word, _)| *word == name)?;
        Some((*offload, on))
    }

    /// The word that switches it: `tso`, `-tso`.
    #[must_use]
    pub fn switched(self, on: bool) -> String {
        let found = WORDS.iter().find(|(_, offload)| *offload == self);
        let word = found.map_or("", |(word, _)| word);
        format!("{}{word}", if on { "" } else { "-" })
    }
}

/// All that the hardware does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a capability of its own"
)]
pub struct Offloads {
    /// [`Offload::RxChecksum`].
    pub rx_checksum: bool,
    /// [`Offload::TxChecksum`].
    pub tx_checksum: bool,
    /// [`Offload::Segmentation`].
    pub segmentation: bool,
    /// [`Offload::Vlan`].
    pub vlan: bool,
    /// [`Offload::Lro`].
    pub lro: bool,
}

impl Offloads {
    /// Whether it does this one.
    #[must_use]
    pub const fn does(self, offload: Offload) -> bool {
        match offload {
            Offload::RxChecksum => self.rx_checksum,
            Offload::TxChecksum => self.tx_checksum,
            Offload::Segmentation => self.segmentation,
            Offload::Vlan => self.vlan,
            Offload::Lro => self.lro,
        }
    }

    /// What both do.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self {
            rx_checksum: self.rx_checksum && other.rx_checksum,
            tx_checksum: self.tx_checksum && other.tx_checksum,
            segmentation: self.segmentation && other.segmentation,
            vlan: self.vlan && other.vlan,
            lro: self.lro && other.lro,
        }
    }
}
