package deps

import (
	_ "github.com/cloudwego/kitex/client"
	_ "github.com/cloudwego/kitex/server"
	_ "github.com/cloudwego/prutal"
	_ "github.com/cockroachdb/pebble/v2"
	_ "github.com/dustin/go-humanize"
	_ "github.com/google/uuid"
	_ "github.com/panjf2000/gnet/v2"
	_ "github.com/spf13/cobra"
	_ "go.etcd.io/raft/v3"
	_ "go.uber.org/goleak"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/sys/unix"
	_ "gopkg.in/yaml.v3"
)
