using System.Net;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;

namespace KvCuda.Server;

/// <summary>Who may ask: by the name the server is called, by the page that asks, by key.</summary>
sealed class Guard
{
    readonly KvServerOptions options;
    readonly (byte[] Hash, string Salt)[] keys;
    readonly byte[][] operators;

    public Guard(KvServerOptions options)
    {
        this.options = options;
        keys = [.. options.ApiKeys.Concat(options.OperatorKeys).Distinct(StringComparer.Ordinal).Select(key =>
        {
            byte[] hash = SHA256.HashData(Encoding.UTF8.GetBytes(key));
            return (hash, options.ShareCache ? "" : "key-" + Convert.ToHexStringLower(hash));
        })];
        operators = [.. options.OperatorKeys.Select(key => SHA256.HashData(Encoding.UTF8.GetBytes(key)))];
    }

    /// <summary>Checks that the caller may see what everybody's requests do.</summary>
    /// <returns>his salt</returns>
    public string AuthenticateOperator(HttpRequest request)
    {
        string salt = Authenticate(request);
        if (operators.Length == 0 ? keys.Length <= 1 : operators.Any(known => CryptographicOperations.FixedTimeEquals(known, GivenHash(request).Hash)))
        {
            return salt;
        }
        throw new ApiException(StatusCodes.Status403Forbidden, "invalid_request_error", operators.Length == 0
            ? "With several API keys, what the engine does for all of them is for an operator's key: --operator-key-file FILE names some."
            : "What the engine does for all callers is for an operator's key; this is none.", code: "not_an_operator");
    }

    static (byte[] Hash, bool Any) GivenHash(HttpRequest request)
    {
        const string scheme = "Bearer ";
        string header = request.Headers.Authorization.ToString();
        string given = header.StartsWith(scheme, StringComparison.OrdinalIgnoreCase) ? header[scheme.Length..].Trim() : "";
        return (SHA256.HashData(Encoding.UTF8.GetBytes(given)), given.Length > 0);
    }

    /// <summary>Turns away requests for a name that is not this server's, and those of pages that may not ask.</summary>
    /// <remarks>
    /// A page of a name that its owner points at 127.0.0.1 is of the same origin to a browser: only the Host header tells. A page of another origin
    /// cannot read answers, but could have work done.
    /// </remarks>
    public void CheckOrigin(HttpRequest request)
    {
        if ((options.OnLoopback || options.AllowedHosts.Count > 0) && !Knows(request.Host.Host))
        {
            throw new ApiException(StatusCodes.Status421MisdirectedRequest, "invalid_request_error",
                "This server is not known by the name in the Host header; --allow-host NAME adds one.", code: "unknown_host");
        }
        StringValues origin = request.Headers.Origin;
        if (origin.Count > 0 && !(origin.Count == 1 && (options.CorsOrigins.Contains(origin[0]!)
            || string.Equals(origin[0], $"{request.Scheme}://{request.Host.Value}", StringComparison.OrdinalIgnoreCase))))
        {
            throw new ApiException(StatusCodes.Status403Forbidden, "invalid_request_error",
                "Pages of that origin may not call this server; --cors ORIGIN lets them.", code: "unknown_origin");
        }
    }

    bool Knows(string host)
    {
        string name = host.Trim('[', ']');
        return options.AllowedHosts.Contains(name, StringComparer.OrdinalIgnoreCase)
            || (options.OnLoopback && (name.Equals("localhost", StringComparison.OrdinalIgnoreCase)
                || (IPAddress.TryParse(name, out IPAddress? address) && IPAddress.IsLoopback(address))));
    }

    /// <summary>Checks the key, where there are keys, in a time that does not depend on it.</summary>
    /// <returns>the salt under which the caller's tokens are cached</returns>
    public string Authenticate(HttpRequest request)
    {
        if (keys.Length == 0)
        {
            return "";
        }
        (byte[] hash, bool any) = GivenHash(request);
        string? salt = null;
        foreach ((byte[] known, string own) in keys)
        {
            if (CryptographicOperations.FixedTimeEquals(known, hash))
            {
                salt = own;
            }
        }
        return salt ?? throw new ApiException(StatusCodes.Status401Unauthorized, "invalid_request_error", !any
            ? "This server wants an API key: Authorization: Bearer KEY."
            : "The API key is not one of this server's.", code: "invalid_api_key");
    }
}
