package weights

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// WriteSafetensors streams tensors to w as a safetensors file, in the order given, with metadata
// (nil for none) in the header. The header is padded with spaces so that the data starts at a
// multiple of 8 bytes. The same tensors give the same bytes. Nothing is written before every name,
// shape and type has been checked. Memory use is the header and one buffer, whatever the size of
// the tensors.
func WriteSafetensors(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	header, err := formatHeader(tensors, metadata)
	if err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	var prefix [8]byte
	binary.LittleEndian.PutUint64(prefix[:], uint64(len(header)))
	if _, err := w.Write(append(prefix[:], header...)); err != nil {
		return fmt.Errorf("safetensors: writing the header: %w", err)
	}
	buf := make([]byte, chunkSize)
	for _, t := range tensors {
		if err := writeData(w, buf, t.Data); err != nil {
			return fmt.Errorf("safetensors: writing tensor %s: %w", Quote(t.Name), err)
		}
	}
	return nil
}

// formatHeader checks the tensors and returns the padded JSON header.
func formatHeader(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	header := []byte{'{'}
	if len(metadata) > 0 {
		if err := checkMetadata(metadata); err != nil {
			return nil, err
		}
		list, err := json.Marshal(metadata) // sorted by key: the same input gives the same bytes
		if err != nil {
			return nil, err
		}
		header = append(append(header, `"`+metadataKey+`":`...), list...)
	}
	if err := checkTensors(tensors); err != nil {
		return nil, err
	}
	offset := int64(0)
	for _, t := range tensors {
		name, err := json.Marshal(t.Name)
		if err != nil {
			return nil, err
		}
		dtype, n := dataType(t.Data)
		shape, err := json.Marshal(append([]int{}, t.Shape...)) // [] and not null for a scalar
		if err != nil {
			return nil, err
		}
		end := offset + int64(n)*int64(elementSizes[dtype])
		if len(header) > 1 {
			header = append(header, ',')
		}
		header = fmt.Appendf(header, `%s:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, name, dtype, shape, offset, end)
		offset = end
	}
	header = append(header, '}')
	for len(header)%8 != 0 {
		header = append(header, ' ')
	}
	if len(header) > maxHeader {
		return nil, fmt.Errorf("header of %d bytes exceeds the format's limit of %d; write the tensors to several files", len(header), maxHeader)
	}
	return header, nil
}
