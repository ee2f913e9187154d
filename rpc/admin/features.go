package admin

import v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"

// A cluster has programs of several releases while it is upgraded, one process after the other, and
// back. What an older one does not know is a feature: each program says which it has, by
// registration and heartbeat, and the control plane uses a feature where those concerned have it.
// So nobody has to say when all are new, and a node that is put back to the release before takes
// the features with it. What cannot be had that way raises Level, and then nodes and control planes
// that do not understand each other say so at registration instead of trying.

const (
	// Level is that of the interface between nodes and the control plane that this program speaks.
	Level = 1
	// OldestNodeLevel is the lowest level of a node that a control plane of this program takes.
	OldestNodeLevel = 1
	// OldestControlLevel is the lowest level of a control plane that a node of it works with.
	OldestControlLevel = 1
)

// Features, a bit each in the sets on the wire and in the metadata. A bit never changes its
// meaning.
const (
	// FeaturePartial is heartbeats that tell what changed.
	FeaturePartial = 1 << iota
	// FeatureCancel is new members that are given up.
	FeatureCancel
	// FeatureScrubWindows is scrubbing at some times only.
	FeatureScrubWindows
	// FeatureTellLater is nodes that ask before they tell of all their replicas.
	FeatureTellLater
	// FeatureErased is copysets that keep volumes which are gone as runs. Once one does, its
	// replicas are read by programs that have the feature alone.
	FeatureErased
)

// Features are those of this program.
const Features uint64 = FeaturePartial | FeatureCancel | FeatureScrubWindows |
	FeatureTellLater | FeatureErased

// FeatureInfo is what a feature is.
type FeatureInfo struct {
	Bit   uint64
	Name  string
	About string
}

// FeatureList is every feature, in the order of the bits.
func FeatureList() []FeatureInfo {
	return []FeatureInfo{
		{FeaturePartial, "partial-heartbeats", "heartbeats tell what changed, and not all"},
		{FeatureCancel, "cancel", "replicas that move can be called back"},
		{FeatureScrubWindows, "scrub-windows", "stores are scrubbed at some times only"},
		{FeatureTellLater, "tell-later", "after a takeover nodes tell of all replicas in turn"},
		{FeatureErased, "erased-volumes", "deleted volumes take no room in copysets for ever"},
	}
}

// FeaturesOf are the features of the program that sent a heartbeat. The release before features had
// names has one, which shows.
func FeaturesOf(req *v1.HeartbeatNodeRequest) uint64 {
	if req.GetReplicaSum() != 0 {
		return req.GetFeatures() | FeaturePartial
	}
	return req.GetFeatures()
}
