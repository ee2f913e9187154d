#!/bin/sh
# Makes kitex_gen from the interface definition. No protoc is needed.
exec go tool kitex -type protobuf -module github.com/ashlar-storage/ashlar -I idl idl/ashlar.proto
