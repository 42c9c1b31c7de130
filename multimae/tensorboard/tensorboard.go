// Package tensorboard writes the metrics of a run as event files, which TensorBoard draws.
package tensorboard

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gomae/gomae/internal/atomicfile"
	"github.com/gomae/gomae/multimae/train"
)

// prefix and suffix mark the event files of this package.
const prefix, suffix = "events.out.tfevents.", ".gomae"

// Follow writes the metrics of the run in dir to an event file in the folder logs as they come,
// until ctx ends. The file has the whole run, also what was written before: earlier event files of
// this package in logs are removed. Every number of a line of metrics.jsonl is a scalar: the tag of
// loss.rgb is train/loss.rgb, that of val.loss.rgb val/loss.rgb.
func Follow(ctx context.Context, dir, logs string) error {
	if err := atomicfile.MkdirAll(logs); err != nil {
		return err
	}
	var f *os.File
	defer func() {
		if f != nil {
			f.Close()
		}
	}()
	begun := time.Now().Unix()
	begin := func() (err error) {
		if f != nil {
			f.Close()
		}
		entries, err := os.ReadDir(logs)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), prefix) && strings.HasSuffix(e.Name(), suffix) {
				if err := os.Remove(filepath.Join(logs, e.Name())); err != nil {
					return err
				}
			}
		}
		// A reader that follows a file would not see that it was cut, so each has a name of its own.
		f, err = os.OpenFile(filepath.Join(logs, fmt.Sprintf("%s%010d%s", prefix, begun, suffix)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
		begun++
		if err != nil {
			return err
		}
		return writeRecord(f, event(time.Now(), 0, versionField()))
	}
	if err := begin(); err != nil {
		return err
	}
	cut := false // the metrics, and nothing has been written to them since
	return train.Follow(ctx, dir, time.Second, func(lines [][]byte, again bool) error {
		// A run that leaves no files cuts its metrics too. Its events stay.
		if cut = cut || again; cut && len(lines) > 0 {
			if err := begin(); err != nil {
				return err
			}
			cut = false
		}
		for _, line := range lines {
			if e := scalars(time.Now(), line); e != nil {
				if err := writeRecord(f, e); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// scalars returns the event of a line of metrics, or nil if the line has no step or no numbers.
func scalars(now time.Time, line []byte) []byte {
	var values map[string]any
	if json.Unmarshal(line, &values) != nil {
		return nil
	}
	step, ok := values["step"].(float64)
	if !ok || step < 0 || step > 1<<53 {
		return nil
	}
	delete(values, "step")
	var keys []string
	for key, v := range values {
		if _, ok := v.(float64); ok {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	slices.Sort(keys)
	var summary []byte
	for _, key := range keys {
		tag := "train/" + key
		if rest, ok := strings.CutPrefix(key, "val."); ok {
			tag = "val/" + rest
		}
		value := message(nil, 1, []byte(tag))
		value = binary.AppendUvarint(value, 2<<3|5) // simple_value, a float
		value = binary.LittleEndian.AppendUint32(value, math.Float32bits(float32(values[key].(float64))))
		summary = message(summary, 1, value)
	}
	return event(now, int64(step), message(nil, 5, summary))
}

// The messages are those of TensorFlow's event.proto and summary.proto.

// message appends a field that has a length: bytes, text or a message.
func message(b []byte, field int, content []byte) []byte {
	b = binary.AppendUvarint(b, uint64(field)<<3|2)
	b = binary.AppendUvarint(b, uint64(len(content)))
	return append(b, content...)
}

func versionField() []byte { return message(nil, 3, []byte("brain.Event:2")) }

// event returns an Event with one more field.
func event(now time.Time, step int64, more []byte) []byte {
	b := binary.AppendUvarint(nil, 1<<3|1) // wall_time, a double
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(now.UnixMicro())/1e6))
	b = binary.AppendUvarint(b, 2<<3) // step, a varint
	b = binary.AppendUvarint(b, uint64(step))
	return append(b, more...)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked returns the checksum that TFRecords have.
func masked(b []byte) uint32 {
	crc := crc32.Checksum(b, castagnoli)
	return (crc>>15 | crc<<17) + 0xa282ead8
}

// writeRecord writes a TFRecord: length, checksum of the length, data, checksum of the data. It is
// one write, so that a reader never sees half of it for long.
func writeRecord(w io.Writer, data []byte) error {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(b, masked(b))
	b = append(b, data...)
	b = binary.LittleEndian.AppendUint32(b, masked(data))
	_, err := w.Write(b)
	return err
}
