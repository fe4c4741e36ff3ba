package tctl

import (
	"encoding/json"
	"time"

	machineidv1 "github.com/gravitational/teleport/api/gen/proto/go/teleport/machineid/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"fleetctl/test/cluster/versions"
)

// shape is a resource as this tctl prints it. Newer resources are protobuf messages with snake-case names.
func (t *tool) shape(item any) (map[string]any, error) {
	data, err := json.Marshal(item)
	if msg, ok := item.(proto.Message); ok {
		data, err = protojson.MarshalOptions{UseProtoNames: true}.Marshal(msg)
	}
	if err != nil {
		return nil, err
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	if _, ok := item.(*machineidv1.BotInstance); ok {
		return doc, t.shapeInstance(doc)
	}
	return doc, nil
}

// shapeInstance makes a bot_instance what the server keeps and tctl prints in their versions (versions.md, E: join_attrs
// by the server's, times by tctl's; samples bot_instance-*.json).
func (t *tool) shapeInstance(doc map[string]any) error {
	if !versions.Has("tctl.bot_instance.join_attrs", t.server.V()) {
		eachObject(doc, func(o map[string]any) { t.forgetAttrs(o) })
	}
	if versions.Has("tctl.bot_instance.times_rfc3339", t.V) {
		return nil
	}
	var bad error
	eachObject(doc, func(o map[string]any) {
		for key, plain := range plainForms {
			if text, ok := o[key].(string); ok {
				var err error
				if o[key], err = plain(text); err != nil {
					bad = err
				}
			}
		}
	})
	return bad
}

// forgetAttrs takes join_attrs from an authentication. What servers without them keep in its metadata is not known; with
// Server.MetadataHash it is as in the sample bot_instance-16.4-no-join-attrs.UNSURE.json.
func (t *tool) forgetAttrs(o map[string]any) {
	attrs, ok := o["join_attrs"].(map[string]any)
	if !ok {
		return
	}
	delete(o, "join_attrs")
	tpm, _ := attrs["tpm"].(map[string]any)
	if t.server.MetadataHash && tpm != nil {
		o["metadata"] = map[string]any{"fields": map[string]any{
			"ek_pub_hash": map[string]any{"Kind": map[string]any{"StringValue": tpm["ek_pub_hash"]}},
		}}
	}
}

// eachObject calls fn with every object of a document, the outer ones first.
func eachObject(node any, fn func(map[string]any)) {
	switch n := node.(type) {
	case map[string]any:
		fn(n)
		for _, v := range n {
			eachObject(v, fn)
		}
	case []any:
		for _, v := range n {
			eachObject(v, fn)
		}
	}
}

// plainForms are the fields of bot_instance with times and durations.
var plainForms = map[string]func(string) (map[string]any, error){
	"authenticated_at": plainTime, "recorded_at": plainTime, "expires": plainTime, "uptime": plainDuration,
}

// plainTime is a time as Go's encoding/json writes a Timestamp message: sample bot_instance-17.5.0.json.
func plainTime(text string) (map[string]any, error) {
	at, err := time.Parse(time.RFC3339Nano, text)
	return parts(at.Unix(), at.Nanosecond()), err
}

func plainDuration(text string) (map[string]any, error) {
	d, err := time.ParseDuration(text)
	return parts(int64(d/time.Second), int(d%time.Second)), err
}

// parts leaves out what is 0, as the message's JSON tags say.
func parts(seconds int64, nanos int) map[string]any {
	m := map[string]any{}
	if seconds != 0 {
		m["seconds"] = seconds
	}
	if nanos != 0 {
		m["nanos"] = nanos
	}
	return m
}
