package transcribe

import (
	"bytes"
	"encoding/binary"

	"mastralambda/shared/mastra"
)

// sound is audio as Transcribe takes it.
type sound struct {
	encoding string // pcm, flac or ogg-opus
	rate     int    // samples a second
	data     []byte
}

func unknown() error {
	return mastra.Invalid("audio", "It has to be WAV with samples of 16 bits, FLAC, Ogg Opus, or raw samples of 16 bits with options.sampleRate")
}

// recognize says what audio is, by how it begins. Stereo becomes mono. rate, where not 0, says that it is raw samples.
func recognize(data []byte, rate int) (s sound, err error) {
	switch {
	case bytes.HasPrefix(data, []byte("RIFF")):
		s, err = wav(data)
	case bytes.HasPrefix(data, []byte("fLaC")):
		if len(data) < 26 {
			return s, unknown()
		}
		s = sound{"flac", int(data[18])<<12 | int(data[19])<<4 | int(data[20])>>4, data} // of its STREAMINFO
	case bytes.HasPrefix(data, []byte("OggS")):
		if !bytes.Contains(data[:min(len(data), 512)], []byte("OpusHead")) {
			return s, unknown()
		}
		s = sound{"ogg-opus", 48_000, data}
	case rate != 0 && len(data) > 0:
		s = sound{"pcm", rate, data[:len(data)&^1]}
	default:
		return s, unknown()
	}
	if err == nil && (s.rate < 8000 || s.rate > 48_000) {
		err = mastra.Invalid("audio", "It has to have 8000 to 48000 samples a second")
	}
	return s, err
}

// wav reads the chunks of a RIFF file. A size that is more than there is means the rest: recorders that stream write such.
func wav(data []byte) (s sound, err error) {
	if len(data) < 12 || string(data[8:12]) != "WAVE" {
		return s, unknown()
	}
	channels := 0
	for rest := data[12:]; len(rest) >= 8; {
		name, size := string(rest[:4]), int64(binary.LittleEndian.Uint32(rest[4:8]))
		body := rest[8:]
		size = min(size, int64(len(body)))
		switch name {
		case "fmt ":
			if size < 16 {
				return s, unknown()
			}
			format, bits := binary.LittleEndian.Uint16(body), binary.LittleEndian.Uint16(body[14:])
			channels, s.rate = int(binary.LittleEndian.Uint16(body[2:])), int(binary.LittleEndian.Uint32(body[4:]))
			if format != 1 && format != 0xFFFE || bits != 16 || channels < 1 || channels > 8 {
				return s, unknown()
			}
		case "data":
			if channels == 0 {
				return s, unknown()
			}
			s.encoding, s.data = "pcm", mono(body[:size], channels)
			return s, nil
		}
		rest = body[min(int64(len(body)), size+size%2):]
	}
	return s, unknown()
}

// mono mixes the channels of samples of 16 bits.
func mono(data []byte, channels int) []byte {
	if channels == 1 {
		return data[:len(data)&^1]
	}
	frame := 2 * channels
	out := make([]byte, 0, len(data)/channels)
	for ; len(data) >= frame; data = data[frame:] {
		sum := 0
		for c := range channels {
			sum += int(int16(binary.LittleEndian.Uint16(data[2*c:])))
		}
		out = binary.LittleEndian.AppendUint16(out, uint16(int16(sum/channels)))
	}
	return out
}
