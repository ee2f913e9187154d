package admin

import v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"

// Members returns all replicas of a copyset, one that is joining as the last of them. The slice is
// the caller's.
func Members(c *v1.Copyset) []*v1.Replica {
	all := make([]*v1.Replica, 0, len(c.GetReplicas())+1)
	all = append(all, c.GetReplicas()...)
	if j := c.GetJoining(); j != nil {
		all = append(all, j)
	}
	return all
}
