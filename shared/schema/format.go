package schema

import (
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"time"
)

// formatted says whether text is of a format of JSON Schema. One that is not known lets all pass.
func formatted(format, text string) bool {
	switch format {
	case "date-time":
		_, err := time.Parse(time.RFC3339, text)
		return err == nil
	case "date":
		_, err := time.Parse(time.DateOnly, text)
		return err == nil
	case "time":
		_, err := time.Parse("15:04:05Z07:00", text)
		return err == nil
	case "email":
		a, err := mail.ParseAddress(text)
		return err == nil && a.Address == text && a.Name == ""
	case "uri", "iri":
		u, err := url.Parse(text)
		return err == nil && u.IsAbs()
	case "uri-reference", "iri-reference":
		_, err := url.Parse(text)
		return err == nil
	case "ipv4":
		a, err := netip.ParseAddr(text)
		return err == nil && a.Is4()
	case "ipv6":
		a, err := netip.ParseAddr(text)
		return err == nil && a.Is6() && a.Zone() == ""
	case "uuid":
		return matches(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`, text)
	case "hostname":
		return len(text) <= 253 && matches(`^([0-9A-Za-z]([-0-9A-Za-z]{0,61}[0-9A-Za-z])?)(\.([0-9A-Za-z]([-0-9A-Za-z]{0,61}[0-9A-Za-z])?))*\.?$`, text)
	case "duration":
		return matches(`^P(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(\d+H)?(\d+M)?(\d+S)?)?)$`, text) && !matches(`(P|T)$`, text)
	case "json-pointer":
		return matches(`^(/([^~/]|~[01])*)*$`, text)
	case "regex":
		_, err := regexp.Compile(text)
		return err == nil
	}
	return true
}

// matches compiles at each use: formats are rare, and a start without them is not to pay.
func matches(expression, text string) bool { return regexp.MustCompile(expression).MatchString(text) }
